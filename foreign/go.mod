module github.com/ringfd/ringfd/foreign

go 1.26.0
