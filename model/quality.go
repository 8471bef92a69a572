package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// The info bits of historical values (Part 4, 7.39.1; Part 11, 6.7). Without any of the others a value is raw.
const (
	InfoDataValue    Quality = 0x0400 // the bits below are about a value
	InfoCalculated   Quality = 0x0001
	InfoInterpolated Quality = 0x0002
	InfoPartial      Quality = 0x0004 // of an interval that is not whole
	InfoExtraData    Quality = 0x0008 // other values stand at the same time
	InfoMultiValue   Quality = 0x0010 // other values would have done as well

	infoBits = InfoDataValue | InfoCalculated | InfoInterpolated | InfoPartial | InfoExtraData | InfoMultiValue
)

var infoNames = [...]struct {
	bit  Quality
	name string
}{{InfoCalculated, "Calculated"}, {InfoInterpolated, "Interpolated"}, {InfoPartial, "Partial"}, {InfoExtraData, "ExtraData"}, {InfoMultiValue, "MultiValue"}}

// Info is the names of the info bits of a historical value; none of a raw one.
func (q Quality) Info() []string {
	if q&InfoDataValue == 0 {
		return nil
	}
	var names []string
	for _, x := range infoNames {
		if q&x.bit != 0 {
			names = append(names, x.name)
		}
	}
	return names
}

// Text is all of a quality as text that ParseQuality reads back: its symbolic name and its info bits, as Good+Calculated+Partial, or its
// number in hexadecimal where they do not say everything.
func (q Quality) Text() string {
	name, ok := qualityNames[q&0xFFFF0000]
	info := q.Info()
	if low := q & 0xFFFF; !ok || low != 0 && (low&^infoBits != 0 || info == nil) {
		return fmt.Sprintf("0x%08X", uint32(q))
	}
	return strings.Join(append([]string{name}, info...), "+")
}

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

// ParseQuality reads a symbolic name, "Good", "Uncertain" or "Bad" in any case, with info bits behind it as Text writes them, or a
// number in decimal or 0x notation.
func ParseQuality(s string) (Quality, error) {
	name, info, _ := strings.Cut(s, "+")
	for q, n := range qualityNames {
		if !equalFold(n, name) {
			continue
		}
		bits, ok := parseInfo(info)
		if !ok {
			break
		}
		return q | bits, nil
	}
	if u, err := strconv.ParseUint(s, 0, 32); err == nil {
		return Quality(u), nil
	}
	return 0, fmt.Errorf("quality %q: must be a status name such as Good, Uncertain, BadNoData, or a number such as 0x80000000", s)
}

// parseInfo reads the names of info bits with + between them; empty for none.
func parseInfo(s string) (q Quality, ok bool) {
	for name := range strings.SplitSeq(s, "+") {
		if s == "" {
			break
		}
		i := slices.IndexFunc(infoNames[:], func(x struct {
			bit  Quality
			name string
		}) bool {
			return equalFold(x.name, name)
		})
		if i < 0 {
			return 0, false
		}
		q |= InfoDataValue | infoNames[i].bit
	}
	return q, true
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
