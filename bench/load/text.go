package load

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/ringfd/ringfd/bench/control"
)

// text is how the messages of HTTP and RESP look: of one length each, all the same
// but for their stamps, which are in hexadecimal digits, and the date in HTTP's. So
// replies are told apart by counted bytes, as those of the other workloads are.
type text struct {
	request, reply     []byte
	requestAt, replyAt int // where the stamp is
	same               []span
}

// span is the bytes [from, to) of a reply: a part that is the same in all.
type span struct{ from, to int }

// hexStamp is the length of a stamp in a text.
const hexStamp = 2 * control.StampSize

func stampText(i int, seq uint64) (text [hexStamp]byte) {
	value := stamp(i, seq)
	for at := range text {
		text[at] = "0123456789abcdef"[value>>(4*(hexStamp-1-at))&15]
	}
	return text
}

// httpRequest asks for a path that the server's answer begins with.
func httpRequest(stamp string) string {
	return "GET /" + stamp + " HTTP/1.1\r\nHost: ringfd\r\nUser-Agent: ringfd-bench\r\nAccept: */*\r\n\r\n"
}

// respRequest has the server send back what it is given, of this size.
func respRequest(payload string) string {
	return "*2\r\n$4\r\nECHO\r\n" + bulk(payload)
}

// bulk is a string in RESP.
func bulk(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

// noStamp stands where stamps are.
const noStamp = "................"

// newText returns the messages of a workload; nil for those that are not of text.
// HTTP's replies have a head that the server decides, so it is asked for one; the
// sums of that are returned too.
func newText(spec Spec) (*text, Result, error) {
	switch spec.Workload {
	case HTTP:
		conn, err := net.DialTimeout(spec.Network, spec.Address, StallLimit)
		if err != nil {
			return nil, Result{}, err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(StallLimit))
		t, err := learnHTTP(spec, conn)
		if err != nil {
			return nil, Result{}, err
		}
		return t, Result{Messages: 1, Opened: 1, Sent: uint64(len(t.request)), Received: uint64(len(t.reply))}, nil
	case RESP:
		payload := noStamp + hex.EncodeToString(newPattern(spec.Request))[:spec.Request-hexStamp]
		t := &text{request: []byte(respRequest(payload)), reply: []byte(bulk(payload))}
		t.find()
		return t, Result{}, nil
	}
	return nil, Result{}, nil
}

// find looks for the stamps, and for what is around that of the reply.
func (t *text) find() {
	t.requestAt, t.replyAt = bytes.Index(t.request, []byte(noStamp)), bytes.Index(t.reply, []byte(noStamp))
	// Of the body as much as of an echo.
	body := t.replyAt + hexStamp
	t.same = []span{
		{0, t.replyAt}, {body, min(len(t.reply), body+checkedHead)},
		{max(body, len(t.reply)-checkedTail), len(t.reply)},
	}
}

// learnHTTP makes one request, and reads the reply as HTTP says. All that follow must
// be as it is.
func learnHTTP(spec Spec, conn net.Conn) (*text, error) {
	t := &text{request: []byte(httpRequest(noStamp))}
	if _, err := conn.Write(t.request); err != nil {
		return nil, err
	}
	var reply bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &reply))
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, fmt.Errorf("the reply is not HTTP: %w", err)
	}
	body, err := io.ReadAll(response.Body)
	t.reply = reply.Bytes()
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK || response.ContentLength != int64(spec.Reply) || response.Close:
		return nil, fmt.Errorf("the server answers with %s, %d bytes, and closes: %v; it must answer with a length of %d, and keep the connection",
			response.Status, response.ContentLength, response.Close, spec.Reply)
	case in.Buffered() > 0:
		return nil, errUnasked
	case !bytes.HasPrefix(body, []byte(noStamp)):
		return nil, fmt.Errorf("the answer to %s begins with %.20q", noStamp, body)
	}
	if t.find(); t.replyAt != len(t.reply)-len(body) {
		return nil, errors.New("the path is in the head of the reply")
	}
	if at := bytes.Index(t.reply, []byte("\r\nDate: ")); at >= 0 && at < t.replyAt {
		at += len("\r\nDate: ")
		t.same = append(t.same[1:], span{0, at}, span{at + len(http.TimeFormat), t.replyAt})
	}
	return t, nil
}

// putStamp makes the request in p that of message seq of connection i.
func (t *text) putStamp(p []byte, i int, seq uint64) {
	stamp := stampText(i, seq)
	copy(p[t.requestAt:], stamp[:])
}

// check reports whether part, which is at offset at of the reply to message seq of
// connection i, is what it must be.
func (t *text) check(part []byte, at, i int, seq uint64) bool {
	if stampEnd := t.replyAt + hexStamp; at < stampEnd && at+len(part) > t.replyAt {
		stamp := stampText(i, seq)
		from, to := max(at, t.replyAt), min(at+len(part), stampEnd)
		if !bytes.Equal(part[from-at:to-at], stamp[from-t.replyAt:to-t.replyAt]) {
			return false
		}
	}
	for _, s := range t.same {
		if !sameAs(t.reply, part, at, s.from, s.to) {
			return false
		}
	}
	return true
}

// httpCaller is a Caller that speaks HTTP/1.1 on any connection.
type httpCaller struct {
	net.Conn
	spec   Spec
	number int
	text   *text // nil before the first reply
	called uint64
	in     []byte
}

// NewHTTPCaller returns a Caller that speaks HTTP/1.1, and checks replies as the lab's
// generator does, on a connection that it does not know how to make: over TLS. number
// tells it apart.
func NewHTTPCaller(spec Spec, conn net.Conn, number int) Caller {
	return &httpCaller{Conn: conn, spec: spec, number: number}
}

func (c *httpCaller) Call() (err error) {
	if c.text == nil {
		if c.text, err = learnHTTP(c.spec, c.Conn); err == nil {
			c.in = make([]byte, len(c.text.reply))
		}
		return err
	}
	c.called++
	c.text.putStamp(c.text.request, c.number, c.called)
	if _, err := c.Write(c.text.request); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, c.in); err != nil {
		return err
	}
	if !c.text.check(c.in, 0, c.number, c.called) {
		return errMixedUp
	}
	return nil
}
