// What the servers in C share: control, listening socket, counters, framing.
//
// A peer is a floor: what the kernel allows to a careful server without a
// runtime. Each engine is one file with engine_kind, engine_open and
// engine_run; peer.c has main. One thread does everything, so nothing here
// locks and the control pipe costs nothing per message.
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum workload { ECHO, EXCHANGE, FANOUT };

enum {
	STAMP_BYTES = 8, // the start of a request that its reply repeats

	// What a connection may have queued for itself before a fan-out stops
	// reading from it.
	QUEUE_BYTES = 1 << 20,
};

// peer is the server of this process, filled before engine_open is called.
struct peer {
	enum workload workload;
	size_t request_bytes, reply_bytes, buffer_bytes;

	int listener; // blocking; accepted sockets inherit TCP_NODELAY
	int control;  // readable when peer_control has something to do

	uint64_t accepted, live, read_bytes, written_bytes; // for the engine to count
};
extern struct peer peer;

// The engine.
extern const char engine_kind[];
void engine_open(void); // fails by peer_refuse
_Noreturn void engine_run(void);

// peer_refuse answers the request in hand with an error and ends the process.
// The format must name the cause and, where there is one, the cure.
__attribute__((format(printf, 1, 2))) _Noreturn void peer_refuse(const char *format, ...);

// peer_fail ends the process for a failure of the engine while it runs.
_Noreturn void peer_fail(const char *what, int error);

// peer_control serves what is waiting on the control pipe. It may not return.
void peer_control(void);

// peer_ended counts the end of a connection that is closed and no longer live;
// error is 0 for an end of file. After a stop, the last one ends the process.
void peer_ended(int error);

// allocate is calloc that cannot fail.
void *allocate(size_t count, size_t bytes);

// A message of a fan-out, shared by the queues that it waits in.
struct message {
	size_t references;
	char bytes[]; // peer.request_bytes of them
};
void message_release(struct message *);

// framing cuts what a connection sends into requests of peer.request_bytes.
struct framing {
	size_t have;              // bytes of the request that began
	char stamp[STAMP_BYTES];  // of the last whole request, when it is one
	struct message *message;  // the request that began, if it is to be kept
};

// framing_take takes bytes up to the end of the request that began, and says
// how many. When *whole is set the request has ended: its stamp is in stamp
// and, for a fan-out, its bytes are in message, which is now the caller's.
size_t framing_take(struct framing *, const char *data, size_t bytes, bool *whole);

// queue holds the messages that wait for one connection, oldest first.
struct queue {
	struct message **items; // a ring of room, a power of two
	size_t first, length, room;
};
void queue_push(struct queue *, struct message *); // takes a reference of its own
struct message *queue_at(const struct queue *, size_t i);
void queue_pop(struct queue *); // releases the oldest
void queue_clear(struct queue *);

#endif
