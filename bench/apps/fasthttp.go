package main

import (
	"net"

	"github.com/valyala/fasthttp"
)

// answerFast is ServeHTTP for fasthttp.
func (s *site) answerFast(ctx *fasthttp.RequestCtx) {
	s.answered()
	stamp := ctx.Path()[1:]
	ctx.SetContentType("text/plain")
	_, _ = ctx.Write(stamp)
	_, _ = ctx.Write(s.filler[len(stamp):s.spec.Reply])
}

func serveFast(s *site, l net.Listener) error {
	return (&fasthttp.Server{Handler: s.answerFast}).Serve(l)
}

func handleFast(s *site) (func(net.Conn), error) {
	server := &fasthttp.Server{Handler: s.answerFast}
	return func(c net.Conn) { _ = server.ServeConn(c) }, nil
}
