package main

import (
	"net"
	"net/http"
	"strconv"
)

// ServeHTTP answers with Reply bytes that begin with the path: see load.HTTP.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.answered()
	stamp := r.URL.Path[1:]
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(s.spec.Reply))
	_, _ = w.Write([]byte(stamp))
	_, _ = w.Write(s.filler[len(stamp):s.spec.Reply])
}

func serveHTTP(s *site, l net.Listener) error { return (&http.Server{Handler: s}).Serve(l) }
