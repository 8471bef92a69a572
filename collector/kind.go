package collector

import (
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"time"
)

// Kind is one kind of source, such as file or modbus: the type that a configuration names. Make one with [NewKind].
type Kind struct {
	Name string // as the configuration has it
	// ByAddress says that the source asks only for the addresses that its tags name (Env.Addresses), so that it has to be started anew when
	// they change. Others are started anew only when their settings change.
	ByAddress bool
	// ByPattern says that the source also finds by itself what its device has, and reads what the patterns of its tags are for (Env.Patterns). It has ByAddress too.
	ByPattern bool
	// Resumes says that the source goes on where it was and misses nothing while the collector is off, as one that reads files does. The tags of
	// others get a gap for that time.
	Resumes bool
	// Polls says that the source asks its devices when it is time, and that what was not asked for is gone. While a full queue keeps it waiting its tags
	// have a gap.
	Polls bool
	// Apart says that a source runs in a process of its own, which the frame starts and ends: for libraries that bytes of a device may make panic in
	// goroutines of their own, or ask for all memory there is. Such a process ends alone; the source is started again as one that failed. Its
	// settings, logs and readings go over pipes; its clock is the machine's.
	Apart bool

	settings func() any // a pointer to zero settings
	open     func(e Env, settings any) (Source, error)
}

// NewKind makes a kind whose settings are the struct S, read from YAML by its yaml tags: keys that S does not have are errors, and so is what
// its method Check() error reports, if it has one. Zero means the default, as everywhere. The errors of Check may say where with [At].
//
// open is called when the configuration is checked as well as before a source runs, so it connects to nothing. What it finds wrong with addresses it says of each, with
// [AtAddress], all of them joined.
func NewKind[S any](name string, open func(e Env, settings *S) (Source, error)) Kind {
	return Kind{
		Name:     name,
		settings: func() any { return new(S) },
		open:     func(e Env, settings any) (Source, error) { return open(e, settings.(*S)) },
	}
}

// Env is what a source is given besides its settings.
type Env struct {
	Name string // of the source
	// Dir is a folder of the source's own, for its place and certificates. The source makes it where it needs it.
	Dir string
	// Addresses are those that its tags name exactly, in the order of the configuration. Patterns are not among them.
	Addresses []string
	// Patterns are those of its rules, in their order, where its kind is ByPattern.
	Patterns []Pattern
	Logger   *slog.Logger
	Now      func() time.Time
}

// Pattern is a rule for addresses that an expression (RE2) fits, unless a rule names them exactly or a pattern before it fits them.
type Pattern struct {
	Regexp string
	Skip   bool // such addresses are not collected
}

// Patterns are the patterns of an Env made ready.
type Patterns struct {
	of []*regexp.Regexp
	is []Pattern
}

// NewPatterns makes patterns ready.
func NewPatterns(all []Pattern) (p Patterns, err error) {
	p.is = all
	for _, x := range all {
		r, err := regexp.Compile(x.Regexp)
		if err != nil {
			return p, err
		}
		p.of = append(p.of, r)
	}
	return p, nil
}

// None reports that there is no pattern by which anything is collected.
func (p Patterns) None() bool {
	return !slices.ContainsFunc(p.is, func(x Pattern) bool { return !x.Skip })
}

// Want reports whether an address is collected by a pattern.
func (p Patterns) Want(address string) bool {
	i := slices.IndexFunc(p.of, func(r *regexp.Regexp) bool { return r.MatchString(address) })
	return i >= 0 && !p.is[i].Skip
}

// addressError is an error of an address that a tag names.
type addressError struct {
	address string
	err     error
}

func (e *addressError) Error() string { return e.err.Error() }
func (e *addressError) Unwrap() error { return e.err }

// AtAddress says which of Env.Addresses err is about. The configuration's errors have the line of its rule then.
func AtAddress(err error, address string) error { return &addressError{address, err} }

// placed is an error with the path, in the configuration, of what it is about.
type placed struct {
	path []any // keys and positions, from the outside
	err  error
}

func (e *placed) Error() string { return e.err.Error() }
func (e *placed) Unwrap() error { return e.err }

// At says which part of the settings err is about, by keys and positions: At(err, "registers", 3, "type"). The configuration's errors have its
// line then.
func At(err error, path ...any) error {
	var inner *placed
	if errors.As(err, &inner) {
		return &placed{append(append([]any(nil), path...), inner.path...), inner.err}
	}
	return &placed{path, err}
}
