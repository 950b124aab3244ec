// Package version names the release that a program was built from.
package version

import "runtime/debug"

// Release is set by the Makefile.
var Release = ""

// String is the release, or for a build without one what Go knows of it.
func String() string {
	if Release != "" {
		return Release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
