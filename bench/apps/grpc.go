package main

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ringfd/ringfd/bench/load"
)

// message is what both methods take and return.
type message = wrapperspb.BytesValue

// service is what protoc would write for a service with two methods.
var service = grpc.ServiceDesc{
	ServiceName: "ringfd.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Unary",
		Handler: func(s any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(message)
			err := decode(in)
			s.(*site).answered()
			return in, err
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Stream", ServerStreams: true, ClientStreams: true,
		Handler: func(s any, stream grpc.ServerStream) error {
			for in := new(message); ; {
				if err := stream.RecvMsg(in); err != nil {
					return err
				}
				s.(*site).answered()
				if err := stream.SendMsg(in); err != nil {
					return err
				}
			}
		},
	}},
}

func serveGRPC(s *site, l net.Listener) error {
	server := grpc.NewServer()
	server.RegisterService(&service, s)
	return server.Serve(l)
}

// grpcCaller has a connection to itself, and a stream on it unless its calls are unary.
type grpcCaller struct {
	*grpc.ClientConn
	stream  grpc.ClientStream
	end     context.CancelFunc
	stamp   stamp
	out, in message
}

func newGRPC(spec load.Spec, i int) (*grpcCaller, error) {
	conn, err := grpc.NewClient("passthrough:///"+spec.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return &grpcCaller{ClientConn: conn, stamp: stamp{number: i}, out: message{Value: make([]byte, spec.Request)}, end: func() {}}, err
}

func callUnary(spec load.Spec, i int) (load.Caller, error) { return newGRPC(spec, i) }

func callStream(spec load.Spec, i int) (load.Caller, error) {
	c, err := newGRPC(spec, i)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.end = cancel
	c.stream, err = c.NewStream(ctx, &service.Streams[0], "/ringfd.Echo/Stream")
	return c, err
}

func (c *grpcCaller) Call() error {
	c.stamp.put(c.out.Value)
	var err error
	if c.stream == nil {
		err = c.Invoke(context.Background(), "/ringfd.Echo/Unary", &c.out, &c.in)
	} else {
		err = errors.Join(c.stream.SendMsg(&c.out), c.stream.RecvMsg(&c.in))
	}
	if err != nil {
		return err
	}
	return sameAs(c.out.Value, c.in.Value)
}

func (c *grpcCaller) Close() error {
	c.end()
	return c.ClientConn.Close()
}
