//go:build !race

package routing

const defaultEdits = 1000
