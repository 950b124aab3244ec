package dcap

import "fmt"

// A Status is what Intel says of a version of its TCB, spelled as Intel spells it
// (PCS API version 4, tcbStatus).
type Status string

// The statuses. The two of relaunch stand in no TCB info: they follow from the
// two versions in a TD 1.5 report.
const (
	UpToDate                             Status = "UpToDate"
	SWHardeningNeeded                    Status = "SWHardeningNeeded"
	ConfigurationNeeded                  Status = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded    Status = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                            Status = "OutOfDate"
	OutOfDateConfigurationNeeded         Status = "OutOfDateConfigurationNeeded"
	TDRelaunchAdvised                    Status = "TDRelaunchAdvised"
	TDRelaunchAdvisedConfigurationNeeded Status = "TDRelaunchAdvisedConfigurationNeeded"
	Revoked                              Status = "Revoked"
)

// What a status says, taken apart.
const (
	needsHardening = 1 << iota
	needsConfiguration
	needsRelaunch
	isOutOfDate
	isRevoked
)

// parts returns what s says. What is not known counts as revoked.
func (s Status) parts() int {
	switch s {
	case UpToDate:
		return 0
	case SWHardeningNeeded:
		return needsHardening
	case ConfigurationNeeded:
		return needsConfiguration
	case ConfigurationAndSWHardeningNeeded:
		return needsConfiguration | needsHardening
	case OutOfDate:
		return isOutOfDate
	case OutOfDateConfigurationNeeded:
		return isOutOfDate | needsConfiguration
	case TDRelaunchAdvised:
		return needsRelaunch
	case TDRelaunchAdvisedConfigurationNeeded:
		return needsRelaunch | needsConfiguration
	}
	return isRevoked
}

// merge returns the status of two parts of a TCB together. It says all that
// either says, as far as Intel has a name for it: being out of date has none for
// needing hardening too. For each pair that Intel's QVL merges, it is what the
// QVL makes of it (QVL, convergeTcbStatuses).
func merge(a, b Status) Status {
	all := a.parts() | b.parts()
	configuration := all&needsConfiguration != 0
	choose := func(plain, withConfiguration Status) Status {
		if configuration {
			return withConfiguration
		}
		return plain
	}
	switch {
	case all&isRevoked != 0:
		return Revoked
	case all&isOutOfDate != 0:
		return choose(OutOfDate, OutOfDateConfigurationNeeded)
	case all&needsRelaunch != 0:
		return choose(TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded)
	case all&needsHardening != 0:
		return choose(SWHardeningNeeded, ConfigurationAndSWHardeningNeeded)
	}
	return choose(UpToDate, ConfigurationNeeded)
}

// relaunch returns the status of a trust domain that was launched under one TCB
// and runs under another. If only the one that it was launched under is out of
// date, launching it anew is what helps (QVL, checkForRelaunch).
//
// Two things are stricter than the QVL. It has had two rules for when to ask this
// function: before 2026, if the launch module is out of date and the current one
// is the newest; since, always. Here both must hold. And a current TCB that is
// worse than the launch TCB, in any way, counts here; in the QVL it is
// supplemental data.
func relaunch(launch, current Status) Status {
	if launch.parts()&isOutOfDate == 0 || current.parts()&(isOutOfDate|isRevoked) != 0 {
		return merge(launch, current)
	}
	if merge(launch, current) == OutOfDateConfigurationNeeded {
		return TDRelaunchAdvisedConfigurationNeeded
	}
	return TDRelaunchAdvised
}

// parseStatus reads a status of a level.
func parseStatus(s string) (Status, error) {
	switch status := Status(s); status {
	case UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked:
		return status, nil
	}
	return "", fmt.Errorf("tcbStatus %.64q is not known", s)
}
