//go:build !linux

package chaos

var ofLinux []fault
