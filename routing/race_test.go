//go:build race

package routing

// defaultEdits is small where the race detector makes each walk ten times slower; the plan starts no goroutine.
const defaultEdits = 30
