#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BACKLOG = 4096,     // the kernel lowers it to net.core.somaxconn
	DRAIN_SECONDS = 5,  // reached only when the end of a connection is lost
	ERRNO_END = 256,    // above every errno of Linux
};

struct peer peer = {.listener = -1};

static bool stopping;
static int drain_timer;
static char socket_path[sizeof((struct sockaddr_un *)0)->sun_path]; // to remove at the end
static uint64_t ends[ERRNO_END];

static _Noreturn void leave(int status)
{
	if (socket_path[0] != '\0')
		unlink(socket_path);
	exit(status);
}

// print_string prints text as a JSON string.
static void print_string(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte < 0x20)
			printf("\\u%04x", byte);
		else if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else
			putchar(byte);
	}
	putchar('"');
}

static void answer_error(const char *format, va_list arguments)
{
	char text[1024];
	vsnprintf(text, sizeof text, format, arguments);
	printf("{\"error\":");
	print_string(text);
	puts("}");
	fflush(stdout);
}

__attribute__((format(printf, 1, 2))) static void answer_errorf(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	answer_error(format, arguments);
	va_end(arguments);
}

void peer_refuse(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	answer_error(format, arguments);
	va_end(arguments);
	leave(1);
}

void peer_fail(const char *what, int error)
{
	const char *cure = "";
	if (error == EMFILE)
		cure = "; raise the limit of open files (ulimit -n)";
	fprintf(stderr, "%s: %s: %s%s\n", engine_kind, what, strerror(error), cure);
	leave(1);
}

void *allocate(size_t count, size_t bytes)
{
	void *memory = calloc(count, bytes);
	if (memory == NULL)
		peer_fail("memory", ENOMEM);
	return memory;
}

// Counters.

static unsigned long long nanoseconds(struct timeval t)
{
	return (unsigned long long)t.tv_sec * 1000000000 + (unsigned long long)t.tv_usec * 1000;
}

static void answer_mark(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage); // first: what follows is not the workload's
	printf("{\"mark\":{\"usage\":{\"cpu\":{\"user_ns\":%llu,\"system_ns\":%llu},"
	       "\"voluntary_switches\":%ld,\"involuntary_switches\":%ld},",
	       nanoseconds(usage.ru_utime), nanoseconds(usage.ru_stime), usage.ru_nvcsw, usage.ru_nivcsw);
	printf("\"totals\":{\"accepted\":%llu,\"live\":%llu,\"read_bytes\":%llu,\"written_bytes\":%llu,\"ends\":{",
	       (unsigned long long)peer.accepted, (unsigned long long)peer.live,
	       (unsigned long long)peer.read_bytes, (unsigned long long)peer.written_bytes);
	const char *comma = "";
	for (int error = 0; error < ERRNO_END; error++) {
		if (ends[error] == 0)
			continue;
		printf("%s", comma);
		print_string(error == 0 ? "connection closed by peer" : strerror(error));
		printf(":%llu", (unsigned long long)ends[error]);
		comma = ",";
	}
	puts("}}}}");
	fflush(stdout);
}

static _Noreturn void finish(void)
{
	answer_mark();
	leave(0);
}

void peer_ended(int error)
{
	if (error == ECONNRESET || error == EPIPE)
		error = 0; // the peer closed it with our bytes unread
	ends[error]++;
	peer.live--;
	if (stopping && peer.live == 0)
		finish();
}

// Requests.

// find returns where the value of key begins, or null.
static const char *find(const char *line, const char *key)
{
	size_t length = strlen(key);
	for (const char *at = line; (at = strchr(at, '"')) != NULL; at++) {
		if (strncmp(at + 1, key, length) != 0 || at[length + 1] != '"')
			continue;
		const char *value = at + length + 2;
		value += strspn(value, " \t");
		if (*value == ':')
			return value + 1 + strspn(value + 1, " \t");
	}
	return NULL;
}

// get_string copies the value of key; without one it answers an error.
static bool get_string(const char *line, const char *key, char *value, size_t room)
{
	const char *at = find(line, key);
	if (at == NULL || *at != '"') {
		answer_errorf("the request has no string \"%s\"", key);
		return false;
	}
	size_t length = strcspn(++at, "\"\\");
	if (at[length] != '"' || length >= room) {
		answer_errorf("the string \"%s\" is longer than %zu bytes, has an escape, or does not end", key, room - 1);
		return false;
	}
	memcpy(value, at, length);
	value[length] = '\0';
	return true;
}

static bool get_size(const char *line, const char *key, size_t least, size_t *value)
{
	const char *at = find(line, key);
	if (at == NULL || *at < '0' || *at > '9') {
		answer_errorf("the request has no number \"%s\"", key);
		return false;
	}
	*value = strtoull(at, NULL, 10);
	if (*value < least || *value > 1 << 30) {
		answer_errorf("\"%s\" is %zu: it must be between %zu and %d", key, *value, least, 1 << 30);
		return false;
	}
	return true;
}

// listen_on opens peer.listener and prints its address into actual.
static bool listen_on(const char *network, const char *address, char *actual, size_t room)
{
	union {
		struct sockaddr any;
		struct sockaddr_in tcp;
		struct sockaddr_un local;
	} at = {0};
	socklen_t length;
	if (strcmp(network, "tcp") == 0) {
		const char *colon = strrchr(address, ':');
		char host[INET_ADDRSTRLEN] = "", *end = NULL;
		unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);
		if (colon != NULL && (size_t)(colon - address) < sizeof host)
			memcpy(host, address, (size_t)(colon - address));
		if (colon == NULL || end == colon + 1 || *end != '\0' || port > 65535 ||
		    inet_pton(AF_INET, host, &at.tcp.sin_addr) != 1) {
			answer_errorf("address \"%s\" is not an IPv4 address and a port, as 127.0.0.1:0 is", address);
			return false;
		}
		at.tcp.sin_family = AF_INET;
		at.tcp.sin_port = htons((uint16_t)port);
		length = sizeof at.tcp;
	} else if (strcmp(network, "unix") == 0) {
		if (address[0] == '\0' || strlen(address) >= sizeof at.local.sun_path) {
			answer_errorf("the path of a unix socket has 1 to %zu bytes", sizeof at.local.sun_path - 1);
			return false;
		}
		at.local.sun_family = AF_UNIX;
		strcpy(at.local.sun_path, address);
		length = sizeof at.local;
	} else {
		answer_errorf("network \"%s\" is unknown: choose tcp or unix", network);
		return false;
	}

	int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	bool ok = fd >= 0;
	if (ok && at.any.sa_family == AF_INET) {
		// Accepted sockets inherit TCP_NODELAY: no call for each of them.
		ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
		     setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
	}
	ok = ok && bind(fd, &at.any, length) == 0;
	if (ok && at.any.sa_family == AF_UNIX)
		strcpy(socket_path, address);
	ok = ok && listen(fd, BACKLOG) == 0 && getsockname(fd, &at.any, &length) == 0;
	if (!ok) {
		answer_errorf("listening on %s %s: %s", network, address, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	peer.listener = fd;
	if (at.any.sa_family == AF_INET)
		snprintf(actual, room, "%s:%u", inet_ntoa(at.tcp.sin_addr), ntohs(at.tcp.sin_port));
	else
		snprintf(actual, room, "%s", address);
	return true;
}

static void do_start(const char *line)
{
	if (peer.listener >= 0) {
		answer_errorf("the server is started already");
		return;
	}
	char network[16], address[sizeof socket_path], workload[16], actual[sizeof socket_path];
	if (!get_string(line, "network", network, sizeof network) ||
	    !get_string(line, "address", address, sizeof address) ||
	    !get_string(line, "workload", workload, sizeof workload))
		return;
	if (strcmp(workload, "echo") == 0) {
		peer.workload = ECHO;
	} else if (strcmp(workload, "exchange") == 0) {
		peer.workload = EXCHANGE;
	} else if (strcmp(workload, "fanout") == 0) {
		peer.workload = FANOUT;
	} else {
		answer_errorf("workload \"%s\" is unknown: choose echo, exchange or fanout", workload);
		return;
	}
	size_t least = peer.workload == EXCHANGE ? STAMP_BYTES : 1;
	if (!get_size(line, "request_bytes", least, &peer.request_bytes) ||
	    !get_size(line, "reply_bytes", least, &peer.reply_bytes) ||
	    !get_size(line, "buffer_bytes", 1, &peer.buffer_bytes) ||
	    !listen_on(network, address, actual, sizeof actual))
		return;
	engine_open();
	printf("{\"ready\":{\"kind\":\"%s\",\"why\":\"a floor in C\",\"address\":", engine_kind);
	print_string(actual);
	printf(",\"pid\":%d}}\n", getpid());
	fflush(stdout);
}

static void do_stop(void)
{
	if (peer.live == 0)
		finish();
	stopping = true;
	struct itimerspec limit = {.it_value = {.tv_sec = DRAIN_SECONDS}};
	timerfd_settime(drain_timer, 0, &limit, NULL);
}

static void serve(const char *line)
{
	char what[16];
	if (!get_string(line, "do", what, sizeof what))
		return;
	if (strcmp(what, "start") == 0)
		do_start(line);
	else if (strcmp(what, "mark") == 0)
		answer_mark();
	else if (strcmp(what, "stop") == 0)
		do_stop();
	else
		answer_errorf("request \"%s\" is unknown: start, mark or stop", what);
}

void peer_control(void)
{
	static char text[1 << 13];
	static size_t length;

	struct epoll_event event;
	int n = epoll_wait(peer.control, &event, 1, peer.listener < 0 ? -1 : 0);
	if (n <= 0)
		return;
	if (event.data.fd == drain_timer)
		finish();
	ssize_t got = read(STDIN_FILENO, text + length, sizeof text - length);
	if (got < 0 && errno == EINTR)
		return;
	if (got <= 0)
		leave(1); // the parent is gone, or sends lines without an end
	length += (size_t)got;
	char *line = text, *end;
	while ((end = memchr(line, '\n', length - (size_t)(line - text))) != NULL) {
		*end = '\0';
		serve(line);
		line = end + 1;
	}
	length -= (size_t)(line - text);
	memmove(text, line, length);
}

static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	if (epoll_ctl(peer.control, EPOLL_CTL_ADD, fd, &event) != 0)
		peer_fail("the control pipe cannot be polled", errno);
}

int main(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "bench-child") != 0 || strcmp(argv[2], "server") != 0) {
		fprintf(stderr, "usage: %s bench-child server\nThe benchmark starts it, and talks to it on its standard input.\n", argv[0]);
		return 2;
	}
	signal(SIGINT, SIG_IGN); // Ctrl-C reaches the whole group; the parent decides what ends
	signal(SIGPIPE, SIG_IGN);
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) { // as the Go runtime does
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	peer.control = epoll_create1(EPOLL_CLOEXEC);
	drain_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (peer.control < 0 || drain_timer < 0)
		peer_fail("the control pipe cannot be polled", errno);
	watch(STDIN_FILENO);
	watch(drain_timer);
	while (peer.listener < 0)
		peer_control();
	engine_run();
}

// Framing.

size_t framing_take(struct framing *f, const char *data, size_t bytes, bool *whole)
{
	if (bytes > peer.request_bytes - f->have)
		bytes = peer.request_bytes - f->have;
	if (peer.workload == FANOUT) {
		if (f->message == NULL)
			f->message = allocate(1, sizeof *f->message + peer.request_bytes);
		memcpy(f->message->bytes + f->have, data, bytes);
	} else if (f->have < STAMP_BYTES) {
		size_t room = STAMP_BYTES - f->have;
		memcpy(f->stamp + f->have, data, bytes < room ? bytes : room);
	}
	f->have += bytes;
	*whole = f->have == peer.request_bytes;
	if (*whole)
		f->have = 0;
	return bytes;
}

void message_release(struct message *m)
{
	if (--m->references == 0)
		free(m);
}

void queue_push(struct queue *q, struct message *m)
{
	if (q->length == q->room) {
		size_t room = q->room == 0 ? 8 : 2 * q->room;
		struct message **items = allocate(room, sizeof *items);
		for (size_t i = 0; i < q->length; i++)
			items[i] = queue_at(q, i);
		free(q->items);
		q->items = items;
		q->room = room;
		q->first = 0;
	}
	q->items[(q->first + q->length++) & (q->room - 1)] = m;
	m->references++;
}

struct message *queue_at(const struct queue *q, size_t i)
{
	return q->items[(q->first + i) & (q->room - 1)];
}

void queue_pop(struct queue *q)
{
	message_release(queue_at(q, 0));
	q->first = (q->first + 1) & (q->room - 1);
	q->length--;
}

void queue_clear(struct queue *q)
{
	while (q->length > 0)
		queue_pop(q);
	free(q->items);
}
