//go:build race

package snp_test

const raceDetector = true // everything takes about ten times as long
