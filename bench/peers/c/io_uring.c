// The floor of completion: one thread, one ring, one system call per turn.
// Accepts and receives are multishot, receives take their buffer from a ring of
// buffers when data is there, and sends go in with the wait for the next turn.
//
// A send is tried quietly first: MSG_DONTWAIT makes the kernel do it while it
// submits, MSG_WAITALL makes less than everything a failure, and success posts
// no completion. So when the submission returns, what posted nothing is sent and
// its memory is free. What did not fit is sent again with a request that waits.
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

const char engine_kind[] = "c-io_uring";

enum {
	SQ_ENTRIES = 4096,
	CQ_ENTRIES = 16384,

	// Small buffers for small messages, to stay in the cache; large ones for the
	// others, since each receive ends with its buffer.
	SMALL_BYTES = 4 << 10,
	LARGE_BYTES = 64 << 10,
	POOL_BYTES = 64 << 20, // of address space; touched as needed
	POOL_FIRST = 1 << 20,  // of them in use at first: what goes round should stay cached
	BUFFERS_MAX = 1 << 13,
	STAGGER = 3 * 64, // between buffers: else their first lines share a cache set

	GATHER = 16,           // pieces per send
	HELD = 32,             // chunks that a connection may have unhandled
	REPLIES_BYTES = 8192,  // of small replies gathered into one send
};

// What a completion is for; user_data is the connection and this.
enum kind { RECV, SEND, ACCEPT, CONTROL, NOTHING, KINDS = 7 };

// A chunk is what one receive brought, in a buffer of the pool or in a copy.
struct chunk {
	struct chunk *next;
	char *data;
	size_t bytes;
	int buffer; // its number, -1 for a copy, which is freed with the chunk
};

struct conn {
	int fd;
	int error;
	bool receiving; // a receive is armed
	bool stopping;  // ... and a request to cancel it is on its way
	bool ended;     // the last receive has been seen
	bool sending, quiet;
	bool listed;  // in ready
	size_t index; // in live
	struct conn *next, *next_tried;

	struct chunk *first, **last; // received, not handled
	size_t held;

	// The send in flight, or made ready: pieces from done on.
	struct msghdr header;
	struct iovec pieces[GATHER];
	size_t left;        // bytes of it
	size_t sent_chunks; // of an echo: the chunks that are free when it is sent
	char *copy;         // it was moved here, to free the chunks early

	struct framing framing;
	char *replies;      // of an exchange
	size_t reply_count; // written into replies, or 1 when a large one is due
	struct queue queue; // of a fan-out
	size_t sent_messages;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static size_t buffer_bytes, pool_most, pool_size; // pool_size of pool_most are in use
static size_t pool_free;                          // of those, with the kernel
static size_t returned;                           // since the last advance of the ring
static char *pool;
static struct chunk *chunks; // of the buffers, by their number
static char *filler;         // what large replies consist of, after the stamp
static size_t replies_most;  // small replies that a connection has room for
static struct conn **live;
static size_t live_room;
static struct conn *ready; // connections to act for in this turn
static struct conn *tried; // those with a quiet send, until the kernel has seen it
static bool silent_work;   // one of those has more to do then, and no completion will say so

// enter submits what was requested; until is 1 to wait for a completion.
static void enter(unsigned until)
{
	if (returned > 0)
		io_uring_buf_ring_advance(buffers, (int)returned);
	returned = 0;
	do {
		int n = until > 0 ? io_uring_submit_and_wait(&ring, until) : io_uring_submit_and_get_events(&ring);
		if (n < 0 && n != -EINTR)
			peer_fail("io_uring_enter", -n);
	} while (io_uring_sq_ready(&ring) > 0);
}

static struct io_uring_sqe *request(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	if (sqe == NULL) {
		enter(0);
		sqe = io_uring_get_sqe(&ring);
	}
	return sqe;
}

static void label(struct io_uring_sqe *sqe, const struct conn *c, enum kind kind)
{
	sqe->user_data = (uintptr_t)c | kind; // memory of calloc is aligned to 16
}

// The pool.

static void give(size_t number)
{
	char *data = pool + number * (buffer_bytes + STAGGER);
	io_uring_buf_ring_add(buffers, data, (unsigned)buffer_bytes, (unsigned short)number,
			      io_uring_buf_ring_mask((unsigned)pool_most), (int)returned++);
	pool_free++;
}

static void grow(size_t size)
{
	for (; pool_size < size && pool_size < pool_most; pool_size++)
		give(pool_size);
}

static void drop(struct chunk *k)
{
	if (k->buffer >= 0)
		give((size_t)k->buffer);
	else
		free(k);
}

// scarce says that connections that wait should not keep buffers.
static bool scarce(void) { return pool_size == pool_most && pool_free < pool_size / 2; }

// Receiving.

static void list(struct conn *c)
{
	if (!c->listed) {
		c->listed = true;
		c->next = ready;
		ready = c;
	}
}

static void arm(struct conn *c)
{
	struct io_uring_sqe *sqe = request();
	io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	label(sqe, c, RECV);
	c->receiving = true;
}

static void pop_chunk(struct conn *c)
{
	struct chunk *k = c->first;
	c->first = k->next;
	if (c->first == NULL)
		c->last = &c->first;
	c->held--;
	drop(k);
}

// Sending.

static void piece(struct conn *c, void *data, size_t bytes)
{
	c->pieces[c->header.msg_iovlen++] = (struct iovec){data, bytes};
	c->left += bytes;
}

// gather makes a send of what there is to send.
static void gather(struct conn *c)
{
	c->header.msg_iov = c->pieces;
	c->header.msg_iovlen = 0;
	switch (peer.workload) {
	case ECHO:
		for (struct chunk *k = c->first; k != NULL && c->sent_chunks < GATHER; k = k->next) {
			piece(c, k->data, k->bytes);
			c->sent_chunks++;
		}
		break;
	case EXCHANGE: // what is due goes in one send, as is the way of a ring
		if (c->reply_count == 0)
			break;
		if (replies_most > 0) {
			piece(c, c->replies, c->reply_count * peer.reply_bytes);
		} else {
			piece(c, c->framing.stamp, STAMP_BYTES);
			if (peer.reply_bytes > STAMP_BYTES)
				piece(c, filler, peer.reply_bytes - STAMP_BYTES);
		}
		break;
	case FANOUT:
		for (; c->sent_messages < c->queue.length && c->sent_messages < GATHER; c->sent_messages++)
			piece(c, queue_at(&c->queue, c->sent_messages)->bytes, peer.request_bytes);
		break;
	}
}

static void send_pieces(struct conn *c, bool quiet)
{
	struct io_uring_sqe *sqe = request();
	int flags = MSG_NOSIGNAL | MSG_WAITALL | (quiet ? MSG_DONTWAIT : 0);
	if (c->header.msg_iovlen == 1)
		io_uring_prep_send(sqe, c->fd, c->header.msg_iov->iov_base, c->left, flags);
	else
		io_uring_prep_sendmsg(sqe, c->fd, &c->header, (unsigned)flags);
	if (quiet) {
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		c->next_tried = tried;
		tried = c;
	}
	label(sqe, c, SEND);
	c->sending = true;
	c->quiet = quiet;
}

// release frees what was sent, or will not be.
static void release(struct conn *c)
{
	for (; c->sent_chunks > 0; c->sent_chunks--)
		pop_chunk(c);
	for (; c->sent_messages > 0; c->sent_messages--)
		queue_pop(&c->queue);
	c->reply_count = 0;
	free(c->copy);
	c->copy = NULL;
	c->left = 0;
	c->sending = c->quiet = false;
	list(c);
}

// move_out copies what is left of an echo's send, to free its buffers.
static void move_out(struct conn *c)
{
	char *copy = allocate(1, c->left), *end = copy;
	for (size_t i = 0; i < c->header.msg_iovlen; i++) {
		memcpy(end, c->header.msg_iov[i].iov_base, c->header.msg_iov[i].iov_len);
		end += c->header.msg_iov[i].iov_len;
	}
	for (; c->sent_chunks > 0; c->sent_chunks--)
		pop_chunk(c);
	c->copy = copy;
	c->pieces[0] = (struct iovec){copy, c->left};
	c->header.msg_iov = c->pieces;
	c->header.msg_iovlen = 1;
}

// sent handles the completion of a send, and what it did not send.
static void sent(struct conn *c, int result)
{
	bool tried = c->quiet;
	c->quiet = false;
	if (result < 0 && !(result == -EAGAIN && tried) && result != -EINTR) {
		c->error = -result;
		release(c);
		return;
	}
	size_t n = result > 0 ? (size_t)result : 0;
	peer.written_bytes += n;
	c->left -= n;
	if (c->left == 0) {
		release(c);
		return;
	}
	for (; n >= c->header.msg_iov->iov_len; c->header.msg_iov++, c->header.msg_iovlen--)
		n -= c->header.msg_iov->iov_len;
	c->header.msg_iov->iov_base = (char *)c->header.msg_iov->iov_base + n;
	c->header.msg_iov->iov_len -= n;
	if (c->sent_chunks > 0 && c->copy == NULL && scarce())
		move_out(c);
	send_pieces(c, false);
}

static void publish(struct message *m)
{
	m->references++;
	for (size_t i = 0; i < peer.live; i++) {
		struct conn *c = live[i];
		if (c->error == 0) {
			queue_push(&c->queue, m);
			list(c);
		}
	}
	message_release(m);
}

// room says that another request may be handled.
static bool room(const struct conn *c)
{
	if (peer.workload == FANOUT)
		return c->queue.length * peer.request_bytes <= QUEUE_BYTES;
	return !c->sending && (replies_most > 0 ? c->reply_count < replies_most : c->reply_count == 0);
}

// handle cuts what was received into requests and serves them.
static void handle(struct conn *c)
{
	while (c->first != NULL && c->error == 0 && room(c)) {
		struct chunk *k = c->first;
		bool whole;
		size_t n = framing_take(&c->framing, k->data, k->bytes, &whole);
		k->data += n;
		k->bytes -= n;
		if (k->bytes == 0)
			pop_chunk(c);
		if (!whole)
			continue;
		if (peer.workload == FANOUT) {
			struct message *m = c->framing.message;
			c->framing.message = NULL;
			publish(m);
			continue;
		}
		if (replies_most > 0) {
			if (c->replies == NULL)
				c->replies = allocate(replies_most, peer.reply_bytes);
			memcpy(c->replies + c->reply_count * peer.reply_bytes, c->framing.stamp, STAMP_BYTES);
		}
		c->reply_count++;
	}
}

static void received(struct conn *c, const struct io_uring_cqe *cqe)
{
	if (cqe->flags & IORING_CQE_F_BUFFER) {
		struct chunk *k = &chunks[cqe->flags >> IORING_CQE_BUFFER_SHIFT];
		pool_free--;
		k->bytes = cqe->res > 0 ? (size_t)cqe->res : 0;
		k->data = pool + (size_t)k->buffer * (buffer_bytes + STAGGER);
		peer.read_bytes += k->bytes;
		if (k->bytes == 0 || c->error != 0) {
			drop(k);
		} else {
			if (c->sending && scarce()) {
				struct chunk *copy = allocate(1, sizeof *copy + k->bytes);
				*copy = (struct chunk){.data = (char *)(copy + 1), .bytes = k->bytes, .buffer = -1};
				memcpy(copy->data, k->data, k->bytes);
				drop(k);
				k = copy;
			}
			k->next = NULL;
			*c->last = k;
			c->last = &k->next;
			c->held++;
		}
	}
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		c->receiving = c->stopping = false;
		if (cqe->res == -ENOBUFS && pool_free < pool_size / 2) // once in a turn
			grow(2 * pool_size);
		if (cqe->res == 0) {
			c->ended = true;
		} else if (cqe->res < 0 && cqe->res != -ENOBUFS && cqe->res != -ECANCELED && cqe->res != -EINTR) {
			c->ended = true;
			c->error = -cqe->res;
		}
	}
	if (peer.workload != ECHO)
		handle(c); // now: what all of them publish in this turn is gathered
	list(c);
}

static void end(struct conn *c)
{
	struct io_uring_sqe *sqe = request();
	io_uring_prep_close(sqe, c->fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	label(sqe, NULL, NOTHING);
	live[c->index] = live[peer.live - 1];
	live[c->index]->index = c->index;
	int error = c->error;
	while (c->first != NULL)
		pop_chunk(c);
	free(c->framing.message);
	free(c->replies);
	queue_clear(&c->queue);
	free(c);
	peer_ended(error);
}

static void cancel(struct conn *c)
{
	struct io_uring_sqe *sqe = request();
	io_uring_prep_cancel64(sqe, (uintptr_t)c | RECV, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	label(sqe, NULL, NOTHING);
	c->stopping = true;
}

// act does for a connection what the completions of this turn made possible.
static void act(struct conn *c)
{
	if (peer.workload != ECHO)
		handle(c);
	if (!c->sending && c->error == 0) {
		gather(c);
		if (c->left > 0)
			send_pieces(c, true);
	}
	bool over = c->ended || c->error != 0;
	if (over && !c->receiving && !c->sending && !c->listed) {
		end(c);
		return;
	}
	bool full = c->held > HELD;
	if (c->receiving && !c->stopping && (full || over))
		cancel(c); // the peer is not read while it does not read, as with epoll
	if (!c->receiving && !over && !full)
		arm(c);
	if (c->quiet && (!c->receiving || c->held > c->sent_chunks || c->queue.length > c->sent_messages))
		silent_work = true;
}

static void accepted(const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		struct io_uring_sqe *sqe = request();
		io_uring_prep_multishot_accept(sqe, peer.listener, NULL, NULL, SOCK_CLOEXEC);
		label(sqe, NULL, ACCEPT);
	}
	if (cqe->res == -ECONNABORTED || cqe->res == -EINTR)
		return;
	if (cqe->res < 0)
		peer_fail("accept", -cqe->res);
	struct conn *c = allocate(1, sizeof *c);
	c->fd = cqe->res;
	c->last = &c->first;
	c->index = peer.live;
	if (peer.live == live_room) {
		live_room = live_room == 0 ? 64 : 2 * live_room;
		live = realloc(live, live_room * sizeof *live);
		if (live == NULL)
			peer_fail("memory", ENOMEM);
	}
	live[peer.live++] = c;
	peer.accepted++;
	arm(c);
}

static void watch_control(void)
{
	struct io_uring_sqe *sqe = request();
	io_uring_prep_poll_add(sqe, peer.control, POLLIN);
	label(sqe, NULL, CONTROL);
}

void engine_open(void)
{
	struct io_uring_params parameters = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	int result = io_uring_queue_init_params(SQ_ENTRIES, &ring, &parameters);
	if (result == -EPERM)
		peer_refuse("io_uring_setup: %s; allow it in the seccomp profile and in kernel.io_uring_disabled", strerror(EPERM));
	if (result == -EINVAL)
		peer_refuse("io_uring_setup: %s; it needs Linux 6.1", strerror(EINVAL));
	if (result < 0)
		peer_refuse("io_uring_setup: %s", strerror(-result));
	io_uring_register_ring_fd(&ring); // saves a lookup per call; an older kernel does without

	bool small = peer.request_bytes <= SMALL_BYTES && peer.buffer_bytes <= SMALL_BYTES;
	buffer_bytes = small ? SMALL_BYTES : LARGE_BYTES;
	pool_most = POOL_BYTES / buffer_bytes;
	if (pool_most > BUFFERS_MAX)
		pool_most = BUFFERS_MAX;
	chunks = allocate(pool_most, sizeof *chunks);
	for (size_t i = 0; i < pool_most; i++)
		chunks[i].buffer = (int)i;
	pool = mmap(NULL, pool_most * (buffer_bytes + STAGGER), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffers = mmap(NULL, pool_most * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool == MAP_FAILED || buffers == MAP_FAILED)
		peer_refuse("memory for the buffers: %s", strerror(errno));
	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)buffers, .ring_entries = (unsigned)pool_most, .bgid = 0};
	result = io_uring_register_buf_ring(&ring, &registration, 0);
	if (result < 0)
		peer_refuse("a ring of buffers: %s", strerror(-result));
	io_uring_buf_ring_init(buffers);
	grow(POOL_FIRST / buffer_bytes);

	replies_most = peer.reply_bytes > REPLIES_BYTES ? 0 : REPLIES_BYTES / peer.reply_bytes;
	if (replies_most == 0) {
		filler = allocate(1, peer.reply_bytes);
		memset(filler, 'r', peer.reply_bytes); // memory of its own, not the zero page
	}

	struct io_uring_sqe *sqe = request();
	io_uring_prep_multishot_accept(sqe, peer.listener, NULL, NULL, SOCK_CLOEXEC);
	label(sqe, NULL, ACCEPT);
	watch_control();
}

static struct conn *conn_of(const struct io_uring_cqe *cqe)
{
	return (struct conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)KINDS);
}

// settle handles the completions of sends, then those that did not come: what
// was tried quietly and posted nothing is sent.
static void settle(unsigned count)
{
	unsigned head, seen = 0;
	struct io_uring_cqe *cqe;
	io_uring_for_each_cqe(&ring, head, cqe) {
		if (seen++ == count)
			break;
		if ((cqe->user_data & KINDS) == SEND)
			sent(conn_of(cqe), cqe->res);
	}
	for (struct conn *c = tried; c != NULL; c = c->next_tried) {
		if (c->quiet) {
			peer.written_bytes += c->left;
			release(c);
		}
	}
	tried = NULL;
}

// turn handles the completions that are there, then acts for the connections
// that they concern.
static void turn(void)
{
	if (io_uring_cq_has_overflow(&ring)) // a failed send may hide there
		peer_fail("the completion queue is too short for so many connections", EOVERFLOW);
	unsigned head, count = io_uring_cq_ready(&ring), seen = 0;
	settle(count);
	bool control = false;
	struct io_uring_cqe *cqe;
	io_uring_for_each_cqe(&ring, head, cqe) {
		if (seen++ == count)
			break; // of sends that a full queue made us submit in between
		switch ((enum kind)(cqe->user_data & KINDS)) {
		case RECV:
			received(conn_of(cqe), cqe);
			break;
		case ACCEPT:
			accepted(cqe);
			break;
		case CONTROL:
			control = true;
			break;
		default:
			break;
		}
	}
	io_uring_cq_advance(&ring, count);
	silent_work = false;
	while (ready != NULL) {
		struct conn *c = ready;
		ready = c->next;
		c->listed = false;
		act(c);
	}
	if (control) {
		peer_control();
		watch_control();
	}
}

void engine_run(void)
{
	for (;;) {
		enter(silent_work ? 0 : 1);
		turn();
	}
}
