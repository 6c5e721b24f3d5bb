package ringfd

// WithDial returns b with another configuration of dialled connections: a Dialer has
// one of its own for each.
func (b *Backend) WithDial(config DialConfig) *Backend {
	other := *b
	switch impl := b.impl.(type) {
	case *netBackend:
		other.impl = newNetBackend(Options{Dial: config}) // it costs a few maps
	case *ringBackend:
		ring := *impl
		ring.dial = config
		other.impl = &ring
	}
	return &other
}
