//go:build linux

package hostile

func fake() int { return 1 }
