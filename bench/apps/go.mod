module github.com/ringfd/ringfd/bench/apps

go 1.26.0

replace (
	github.com/ringfd/ringfd => ../..
	github.com/ringfd/ringfd/bench => ..
)

require (
	github.com/ringfd/ringfd v0.0.0
	github.com/ringfd/ringfd/bench v0.0.0
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/pawelgaczynski/giouring v0.0.0-20230826085535-69588b89acb9 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
