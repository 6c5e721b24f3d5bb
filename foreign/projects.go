package main

import "time"

// project is a set of packages whose own tests run on our connections.
type project struct {
	name   string
	module string // and its version; "" for Go's own
	parts  []part
	short  bool // make foreign-short runs it
}

// part is one test binary.
type part struct {
	dir     string        // of the package, in its module or in GOROOT/src
	files   []string      // only the tests of these files; nil for all
	without []string      // tests that are left out
	args    []string      // for the test binary
	timeout time.Duration // of one run of the binary
}

// projects pins what is tested, and in which version. Of Go it is the version that
// runs this.
var projects = []project{
	{name: "glue", parts: []part{{dir: "internal/ringfd/glue"}}, short: true}, // that it works at all
	{name: "yamux", module: "github.com/hashicorp/yamux@v0.1.2", parts: []part{{dir: "."}}, short: true},
	{name: "redcon", module: "github.com/tidwall/redcon@v1.6.4", parts: []part{{dir: "."}}, short: true},
	{name: "cmux", module: "github.com/soheilhy/cmux@v0.1.5", parts: []part{{dir: "."}}, short: true},
	{name: "coder/websocket", module: "github.com/coder/websocket@v1.8.15", parts: []part{{dir: "."}}, short: true},
	{name: "gorilla/websocket", module: "github.com/gorilla/websocket@v1.5.3", parts: []part{{dir: "."}}, short: true},
	{name: "go-proxyproto", module: "github.com/pires/go-proxyproto@v0.15.0", parts: []part{{dir: "."}}, short: true},
	{name: "x/net/http2", module: "golang.org/x/net@v0.62.0", parts: []part{{dir: "http2"}}},
	{name: "x/crypto/ssh", module: "golang.org/x/crypto@v0.59.0", parts: []part{{dir: "ssh"}, {dir: "ssh/agent"}}},
	{name: "btcd", module: "github.com/btcsuite/btcd@v0.26.2", parts: []part{{dir: "peer"}, {dir: "connmgr"}}},
	{name: "fasthttp", module: "github.com/valyala/fasthttp@v1.78.0", parts: []part{{dir: "."}}},
	{name: "grpc", module: "google.golang.org/grpc@v1.85.0", parts: []part{
		{dir: "."},
		{dir: "internal/transport"},
		{dir: "test", timeout: 10 * time.Minute},
	}},
	{name: "net", parts: []part{{dir: "net", timeout: time.Minute, files: []string{
		"conn_test.go", "dial_test.go", "dial_unix_test.go", "error_test.go", "error_posix_test.go",
		"error_unix_test.go", "external_test.go", "file_test.go", "ipsock_test.go", "listen_test.go",
		"mptcpsock_linux_test.go", "net_test.go", "protoconn_test.go", "rawconn_test.go",
		"rawconn_unix_test.go", "sendfile_test.go", "sendfile_unix_test.go", "server_test.go",
		"sock_linux_test.go", "splice_linux_test.go", "tcpconn_keepalive_conf_unix_test.go",
		"tcpconn_keepalive_test.go", "tcpsock_test.go", "tcpsock_unix_test.go", "timeout_test.go",
		"unixsock_linux_test.go", "unixsock_readmsg_test.go", "unixsock_test.go", "write_unix_test.go",
		"writev_test.go",
	}}}},
	{name: "net/http", parts: []part{{
		dir: "net/http", timeout: 10 * time.Minute,
		without: []string{"TestOmitHTTP2", "TestOmitHTTP2Vet"}, // which build all these tests once more
	}}},
}
