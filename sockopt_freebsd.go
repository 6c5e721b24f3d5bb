package ringfd

// SO_REUSEPORT_LB balances connections over the listeners, which is what
// SO_REUSEPORT does on Linux (setsockopt(2), FreeBSD 12).
const soReusePort = 0x10000
