//go:build !race

package snp_test

const raceDetector = false
