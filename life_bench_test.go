package ringfd_test

import (
	"context"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/internal/conformance"
)

// BenchmarkChurn is the life of a connection on which nothing is sent: Dial,
// Accept, and Close of either end.
func BenchmarkChurn(b *testing.B) {
	for _, network := range benchNetworks() {
		b.Run("network="+network, func(b *testing.B) {
			eachBackend(b, func(b *testing.B, row conformance.Row) {
				e := open(b, row, network)
				l := e.Listen(b, accept.Config{})
				address := l.Addr().String()
				ctx := context.Background()
				b.ReportAllocs()
				before := e.Backend.Stats().Enters
				for b.Loop() {
					client, err := e.Backend.Dial(ctx, network, address)
					if err != nil {
						b.Fatal(err)
					}
					server, _, err := l.Accept(ctx)
					if err != nil {
						b.Fatal(err)
					}
					// In this order the server has the TIME_WAIT, and the ports of
					// the clients do not run out.
					if err := server.Close(); err != nil {
						b.Fatal(err)
					}
					if err := client.Close(); err != nil {
						b.Fatal(err)
					}
				}
				reportEnters(b, e.Backend, before)
			})
		})
	}
}

// BenchmarkOpen opens and closes a Backend. The probe's answer is kept from
// the first one.
func BenchmarkOpen(b *testing.B) {
	eachBackend(b, func(b *testing.B, row conformance.Row) {
		_ = row.Open(b) // or skips
		b.ReportAllocs()
		for b.Loop() {
			backend, err := ringfd.Open(row.Options)
			if err != nil {
				b.Fatal(err)
			}
			if err := backend.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
