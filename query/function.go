package query

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/circular"
	"github.com/varvedb/varve/query/part13"
)

// MaxFunctions is how many functions one processed read may ask for.
const MaxFunctions = 64

// Function is what ReadProcessed calculates of an interval: an aggregate of OPC UA Part 13, or one of Varve's own. Of these some are
// answered by ReadAggregates too. [ParseFunction] makes them; the zero value is none.
type Function struct {
	name     string // as answers have it
	standard part13.Aggregate
	own      Aggregate // of ReadAggregates too
	kind     kind      // of ReadProcessed alone
	argument float64   // of kind: percent, nanoseconds of the base of time, or period
}

// kind is an own function that ReadAggregates does not answer.
type kind uint8

const (
	kindPercentile kind = iota + 1
	kindTimeWeightedPercentile
	kindIncrease
	kindRate
	kindTotal
	kindTransitions
	kindDelta
	kindFirstTime
	kindLastTime
	kindCircularMean
	kindCircularDeviation
)

// ownFunctions are the own functions of ReadProcessed alone, by name.
var ownFunctions = []struct {
	name     string
	kind     kind
	read     func(argument string) (float64, error) // nil where there is none to give
	argument float64                                // where none is given; NaN where one must be
}{
	{"percentile", kindPercentile, percentOf, math.NaN()},
	{"time_weighted_percentile", kindTimeWeightedPercentile, percentOf, math.NaN()},
	{"median", kindPercentile, nil, 50},
	{"increase", kindIncrease, nil, 0},
	{"rate", kindRate, nil, 0},
	{"total", kindTotal, timeBaseOf, math.NaN()},
	{"integral", kindTotal, nil, 1e9},
	{"transitions", kindTransitions, nil, 0},
	{"delta", kindDelta, nil, 0},
	{"first_time", kindFirstTime, nil, 0},
	{"last_time", kindLastTime, nil, 0},
	{"circular_mean", kindCircularMean, periodOf, circular.Degrees},
	{"circular_deviation", kindCircularDeviation, periodOf, circular.Degrees},
}

func percentOf(text string) (float64, error) {
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return 0, fmt.Errorf("must be a percentage from 0 to 100, such as 95")
	}
	return p, nil
}

func timeBaseOf(text string) (float64, error) {
	switch text {
	case "s":
		return 1e9, nil
	case "min":
		return 60e9, nil
	case "h":
		return 3600e9, nil
	case "d":
		return 86400e9, nil
	}
	return 0, fmt.Errorf("must be the unit of time of the values, s, min, h or d: total(h) of kW is kWh")
}

func periodOf(text string) (float64, error) {
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || !(p > 0) || math.IsInf(p, 1) {
		return 0, fmt.Errorf("must be the positive value after which directions come round again, such as 360 or 24")
	}
	return p, nil
}

// Standard is an aggregate of Part 13 as a function.
func Standard(a part13.Aggregate) Function { return Function{name: a.String(), standard: a} }

// ParseFunction reads the name of a function: an aggregate of Part 13 written as there, or an own one, some with an argument in
// parentheses. A bare average is refused: there are several.
func ParseFunction(text string) (Function, error) {
	if a, ok := part13.Parse(text); ok {
		return Standard(a), nil
	}
	if i := slices.Index(aggregateNames[:], text); i > 0 {
		return Function{name: text, own: Aggregate(i)}, nil
	}
	if isBareAverage(text) {
		return Function{}, refuseBareAverage(text)
	}
	name, argument, has := strings.Cut(text, "(")
	for _, f := range ownFunctions {
		if f.name != name {
			continue
		}
		out := Function{name: text, kind: f.kind, argument: f.argument}
		switch argument, closed := strings.CutSuffix(argument, ")"); {
		case !has && out.argument == out.argument:
			return out, nil
		case f.read == nil:
			return Function{}, fmt.Errorf("aggregate %.80q: %s takes no argument: %w", text, name, ErrBadRequest)
		case !has, !closed:
			_, err := f.read("")
			return Function{}, fmt.Errorf("aggregate %.80q: %s needs an argument in parentheses; it %w: %w", text, name, err, ErrBadRequest)
		default:
			value, err := f.read(argument)
			if err != nil {
				return Function{}, fmt.Errorf("aggregate %.80q: the argument of %s %w: %w", text, name, err, ErrBadRequest)
			}
			out.argument = value
			return out, nil
		}
	}
	return Function{}, fmt.Errorf("aggregate %.80q: must be one of Part 13, such as Average, TimeAverage2 or PercentGood, or one of %s: %w",
		text, strings.Join(OwnFunctionNames(), ", "), ErrBadRequest)
}

// OwnFunctionNames is the names of Varve's own functions, with a place for the argument where there must be one.
func OwnFunctionNames() []string {
	names := AggregateNames()
	for _, f := range ownFunctions {
		if f.argument != f.argument {
			f.name += "(…)"
		}
		names = append(names, f.name)
	}
	return names
}

func (f Function) String() string { return f.name }

// of reports whether the function has a meaning for values of type t.
func (f Function) of(t model.Type) bool {
	switch {
	case f.standard != 0:
		return f.standard.Of(t)
	case f.own == First || f.own == Last: // the answer has no column for bytes
		return t != model.Bytes
	case f.own != 0:
		return !f.own.numeric() || t <= model.Uint64
	case f.kind == kindTransitions:
		return !t.Blob()
	}
	return f.kind == kindFirstTime || f.kind == kindLastTime || t <= model.Uint64
}

// isStatus and isTime report whether the value is a status code, or an instant.
func (f Function) isStatus() bool {
	return f.standard.IsStatus() || f.own == WorstQuality
}

func (f Function) isTime() bool {
	return f.own == MinimumTime || f.own == MaximumTime || f.kind == kindFirstTime || f.kind == kindLastTime
}

// isPercentile reports whether the function may be answered by its approximate one.
func (f Function) isPercentile() bool {
	return f.kind == kindPercentile || f.kind == kindTimeWeightedPercentile
}

// approximate is what the answer calls a percentile that a sketch gave.
func (f Function) approximate() Function {
	f.name = "approximate_" + f.name
	return f
}

// needsSamples reports whether partials do not tell enough.
func (f Function) needsSamples() bool {
	switch f.kind {
	case kindPercentile, kindTimeWeightedPercentile, kindIncrease, kindRate, kindCircularMean, kindCircularDeviation:
		return true
	}
	return false
}

// needsArea reports whether the function is of an integral.
func (f Function) needsArea() bool { return f.kind == kindTotal || f.own == TimeWeightedAverage }
