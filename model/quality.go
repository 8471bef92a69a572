package model

import (
	"fmt"
	"strconv"
)

// Quality is an OPC UA StatusCode (Part 4, 7.39; Part 8, 6.4): severity in the top two bits, sub-code in bits 16 to 29,
// info bits below. Zero is Good. All 32 bits are stored and returned as they came.
type Quality uint32

// The status codes Varve itself produces or maps to. Any other code is stored and returned unchanged.
const (
	Good                         Quality = 0x00000000
	GoodLocalOverride            Quality = 0x00960000
	Uncertain                    Quality = 0x40000000
	UncertainLastUsableValue     Quality = 0x40900000
	UncertainSubstituteValue     Quality = 0x40910000
	UncertainInitialValue        Quality = 0x40920000
	UncertainSensorNotAccurate   Quality = 0x40930000
	UncertainEngineeringUnits    Quality = 0x40940000
	UncertainSubNormal           Quality = 0x40950000
	UncertainDataSubNormal       Quality = 0x40A40000
	UncertainNoCommunicationLast Quality = 0x408F0000
	Bad                          Quality = 0x80000000
	BadNoCommunication           Quality = 0x80310000
	BadWaitingForInitialData     Quality = 0x80320000
	BadNotConnected              Quality = 0x808A0000
	BadDeviceFailure             Quality = 0x808B0000
	BadSensorFailure             Quality = 0x808C0000
	BadOutOfService              Quality = 0x808D0000
	BadConfigurationError        Quality = 0x80890000
	BadNoData                    Quality = 0x809B0000
	BadDataLost                  Quality = 0x809D0000
	BadDataUnavailable           Quality = 0x809E0000
	BadBoundNotFound             Quality = 0x80D70000
)

// IsGood reports severity Good.
func (q Quality) IsGood() bool { return q>>30 == 0 }

// IsUncertain reports severity Uncertain.
func (q Quality) IsUncertain() bool { return q>>30 == 1 }

// IsBad reports severity Bad. The value of a Bad sample is kept, and treated as null by every calculation.
func (q Quality) IsBad() bool { return q>>30 >= 2 }

// Severity is Good, Uncertain or Bad.
func (q Quality) Severity() string {
	switch q >> 30 {
	case 0:
		return "Good"
	case 1:
		return "Uncertain"
	}
	return "Bad"
}

// String is the symbolic name without info bits, or the severity and the code in hexadecimal where no name is known.
func (q Quality) String() string {
	if n, ok := qualityNames[q&0xFFFF0000]; ok {
		return n
	}
	return fmt.Sprintf("%s(0x%08X)", q.Severity(), uint32(q))
}

// ParseQuality reads a symbolic name, "Good", "Uncertain" or "Bad" in any case, or a number in decimal or 0x notation.
func ParseQuality(s string) (Quality, error) {
	for q, n := range qualityNames {
		if equalFold(n, s) {
			return q, nil
		}
	}
	if u, err := strconv.ParseUint(s, 0, 32); err == nil {
		return Quality(u), nil
	}
	return 0, fmt.Errorf("quality %q: must be a status name such as Good, Uncertain, BadNoData, or a number such as 0x80000000", s)
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}
