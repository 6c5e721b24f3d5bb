package uring

var parts = map[string]func() any{}
