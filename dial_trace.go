package ringfd

import (
	"context"
	"net"
	"net/http/httptrace"
	"reflect"
)

// dialTrace are the hooks of httptrace that are told of a dial, as net's Dialer tells
// them, on both backends alike.
type dialTrace struct{ hooks *httptrace.ClientTrace }

// traced takes the trace out of ctx: what is below would tell it of its own connects,
// the backend on net once more and a resolver of those to its name servers.
func traced(ctx context.Context) (context.Context, dialTrace) {
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks == nil {
		return ctx, dialTrace{}
	}
	return untraced{ctx}, dialTrace{hooks}
}

// lookUp returns a context whose trace is told of look-ups only.
func (t dialTrace) lookUp(ctx context.Context) context.Context {
	if t.hooks == nil || t.hooks.DNSStart == nil && t.hooks.DNSDone == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{DNSStart: t.hooks.DNSStart, DNSDone: t.hooks.DNSDone})
}

// connect tells of a connect that begins, and returns what tells of its end.
func (t dialTrace) connect(network string, addr net.Addr) (done func(error)) {
	if t.hooks == nil {
		return func(error) {}
	}
	address := addr.String()
	if t.hooks.ConnectStart != nil {
		t.hooks.ConnectStart(network, address)
	}
	return func(err error) {
		if t.hooks.ConnectDone == nil {
			return
		}
		if err != nil {
			err = &net.OpError{Op: "dial", Net: network, Addr: addr, Err: asOfNet(err)}
		}
		t.hooks.ConnectDone(network, address, err)
	}
}

// untraced is a context without the trace of net and of httptrace, whose keys are not
// exported.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	switch t := reflect.TypeOf(key); {
	case t.PkgPath() == "internal/nettrace" && t.Name() == "TraceKey", t.PkgPath() == "net/http/httptrace":
		return nil
	}
	return c.Context.Value(key)
}
