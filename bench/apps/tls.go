package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/ringfd/ringfd/bench/load"
)

// serveTLS is net/http over TLS 1.3, for clients that choose HTTP/1.1 or HTTP/2.
func serveTLS(s *site, l net.Listener) error {
	certificate, err := selfSigned()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: s, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}}
	return server.ServeTLS(l, "", "")
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// anyServer takes any certificate: the server is on this machine, and made its own.
func anyServer() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
}

func callTLS(spec load.Spec, i int) (load.Caller, error) {
	conn, err := tls.Dial(spec.Network, spec.Address, anyServer())
	if err != nil {
		return nil, err
	}
	return load.NewHTTPCaller(spec, conn, i), nil
}

// h2Caller has a connection of HTTP/2 to itself.
type h2Caller struct {
	http.Transport
	url   string
	spec  load.Spec
	stamp stamp
}

func callH2(spec load.Spec, i int) (load.Caller, error) {
	return &h2Caller{
		Transport: http.Transport{TLSClientConfig: anyServer(), ForceAttemptHTTP2: true},
		url:       "https://" + spec.Address + "/", spec: spec, stamp: stamp{number: i},
	}, nil
}

func (c *h2Caller) Call() error {
	stamp := c.stamp.next()
	request, err := http.NewRequest(http.MethodGet, c.url+stamp, nil)
	if err != nil {
		return err
	}
	response, err := c.RoundTrip(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK || len(body) != c.spec.Reply || !bytes.HasPrefix(body, []byte(stamp)) {
		return fmt.Errorf("got %s %s with %d bytes: %.20q", response.Proto, response.Status, len(body), body)
	}
	return nil
}

func (c *h2Caller) Close() error {
	c.CloseIdleConnections()
	return nil
}
