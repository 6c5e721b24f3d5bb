// The floor of readiness: one thread, one epoll set, edge triggered, a read and
// a write per message. While a connection cannot be written to, it is not read.
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

const char engine_kind[] = "c-epoll";

enum {
	EVENTS = 256,
	READ_BYTES = 256 << 10, // one buffer serves all: large messages want it large
	TURNS = 16,             // full reads of a connection before the others have theirs
};

struct conn {
	int fd;
	bool ended;   // the peer has sent its last byte: no new edge tells of the end of file
	int error;    // found by a write
	size_t index; // in live

	// What was read and could not be handled yet.
	char *kept;
	size_t kept_at, kept_bytes;

	struct framing framing;
	size_t reply_left;
	struct queue queue; // of a fan-out
	size_t queue_sent;  // of its oldest message
};

static int set;
static char *input;
static size_t input_bytes;
static char *reply; // of an exchange; only its stamp ever changes
static struct conn **live;
static size_t live_room;

// write_some writes what fits and counts it. An error is kept in c->error.
static size_t write_some(struct conn *c, const char *data, size_t bytes)
{
	size_t sent = 0;
	while (sent < bytes) {
		ssize_t n = send(c->fd, data + sent, bytes - sent, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN)
				c->error = errno;
			break;
		}
		sent += (size_t)n;
	}
	peer.written_bytes += sent;
	return sent;
}

// flush_reply writes on the reply that began.
static void flush_reply(struct conn *c)
{
	memcpy(reply, c->framing.stamp, STAMP_BYTES);
	c->reply_left -= write_some(c, reply + peer.reply_bytes - c->reply_left, c->reply_left);
}

static void flush_queue(struct conn *c)
{
	while (c->queue.length > 0) {
		size_t left = peer.request_bytes - c->queue_sent;
		size_t n = write_some(c, queue_at(&c->queue, 0)->bytes + c->queue_sent, left);
		if (n < left) {
			c->queue_sent += n;
			return;
		}
		c->queue_sent = 0;
		queue_pop(&c->queue);
	}
}

// publish writes a message to every connection, behind what waits there.
static void publish(struct message *m)
{
	m->references++;
	for (size_t i = 0; i < peer.live; i++) {
		struct conn *c = live[i];
		if (c->error != 0)
			continue; // its own event closes it
		queue_push(&c->queue, m);
		if (c->queue.length == 1)
			flush_queue(c);
	}
	message_release(m);
}

// handle serves what was read and returns how much of it: less than all when
// the connection must be written to first.
static size_t handle(struct conn *c, const char *data, size_t bytes)
{
	if (peer.workload == ECHO)
		return write_some(c, data, bytes);
	size_t taken = 0;
	while (taken < bytes && c->error == 0) {
		if (c->reply_left > 0 || c->queue.length * peer.request_bytes > QUEUE_BYTES)
			break;
		bool whole;
		taken += framing_take(&c->framing, data + taken, bytes - taken, &whole);
		if (!whole)
			continue;
		if (peer.workload == EXCHANGE) {
			c->reply_left = peer.reply_bytes;
			flush_reply(c);
		} else {
			struct message *m = c->framing.message;
			c->framing.message = NULL;
			publish(m);
		}
	}
	return taken;
}

static void end(struct conn *c)
{
	close(c->fd);
	live[c->index] = live[peer.live - 1];
	live[c->index]->index = c->index;
	int error = c->error;
	free(c->kept);
	free(c->framing.message);
	queue_clear(&c->queue);
	free(c);
	peer_ended(error);
}

// serve does what an event allows. It is the only place where a connection
// ends, so that no later event of the same batch is for one that is gone.
static void serve(struct conn *c, uint32_t events)
{
	c->ended |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (c->reply_left > 0)
		flush_reply(c);
	flush_queue(c);
	if (c->error == 0 && c->kept_bytes > 0) {
		size_t n = handle(c, c->kept + c->kept_at, c->kept_bytes);
		c->kept_at += n;
		c->kept_bytes -= n;
	}
	for (int turn = 0; c->error == 0 && c->kept_bytes == 0 && c->reply_left == 0; turn++) {
		if (turn == TURNS) { // modified is looked at anew: an edge for what is left
			struct epoll_event event = {
				.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
			if (epoll_ctl(set, EPOLL_CTL_MOD, c->fd, &event) != 0)
				peer_fail("epoll_ctl", errno);
			return;
		}
		ssize_t got = read(c->fd, input, input_bytes);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			c->error = got < 0 ? errno : 0;
			end(c);
			return;
		}
		size_t bytes = (size_t)got;
		peer.read_bytes += bytes;
		size_t n = handle(c, input, bytes);
		if (n < bytes) {
			free(c->kept);
			c->kept_at = 0;
			c->kept_bytes = bytes - n;
			c->kept = allocate(1, c->kept_bytes);
			memcpy(c->kept, input + n, c->kept_bytes);
		}
		if (bytes < input_bytes && !c->ended)
			break; // that was all: more of it is a new edge
	}
	if (c->error != 0)
		end(c);
}

static void accept_all(void)
{
	for (;;) {
		int fd = accept4(peer.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EAGAIN)
				return;
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			peer_fail("accept", errno);
		}
		struct conn *c = allocate(1, sizeof *c);
		c->fd = fd;
		c->index = peer.live;
		if (peer.live == live_room) {
			live_room = live_room == 0 ? 64 : 2 * live_room;
			live = realloc(live, live_room * sizeof *live);
			if (live == NULL)
				peer_fail("memory", ENOMEM);
		}
		live[peer.live++] = c;
		peer.accepted++;
		// Registered once: no call to change interest later.
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
		if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0)
			peer_fail("epoll_ctl", errno);
	}
}

void engine_open(void)
{
	input_bytes = peer.buffer_bytes > READ_BYTES ? peer.buffer_bytes : READ_BYTES;
	input = allocate(1, input_bytes);
	reply = allocate(1, peer.reply_bytes);
	memset(reply, 'r', peer.reply_bytes); // memory of its own, not the zero page
	set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0)
		peer_refuse("epoll_create1: %s", strerror(errno));
	struct epoll_event listener = {.events = EPOLLIN, .data.ptr = &peer.listener};
	struct epoll_event control = {.events = EPOLLIN, .data.ptr = &peer.control};
	if (fcntl(peer.listener, F_SETFL, O_NONBLOCK) != 0 ||
	    epoll_ctl(set, EPOLL_CTL_ADD, peer.listener, &listener) != 0 ||
	    epoll_ctl(set, EPOLL_CTL_ADD, peer.control, &control) != 0)
		peer_refuse("watching the listener: %s", strerror(errno));
}

void engine_run(void)
{
	static struct epoll_event events[EVENTS];
	for (;;) {
		int n = epoll_wait(set, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			peer_fail("epoll_wait", errno);
		bool control = false;
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &peer.control)
				control = true; // after the batch: its counts include it
			else if (events[i].data.ptr == &peer.listener)
				accept_all();
			else
				serve(events[i].data.ptr, events[i].events);
		}
		if (control)
			peer_control();
	}
}
