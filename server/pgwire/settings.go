package pgwire

import (
	"sort"
	"strconv"
	"strings"
	"time"
)

// ServerVersion is the release whose catalogue and protocol clients may expect.
const ServerVersion = "15.0"

// setting is one of a session.
type setting struct {
	name  string // as it is shown
	value string // the default
	// accept is the value to keep for one a client sets. Nil: the setting is fixed.
	accept func(value string) (string, error)
	report bool // clients are told of it at the start, and of every change
}

// anything takes any value: the setting concerns what this door does not do.
func anything(v string) (string, error) { return v, nil }

// only takes the values that mean what the door does anyway.
func only(name string, values ...string) func(string) (string, error) {
	return func(v string) (string, error) {
		for _, known := range values {
			if strings.EqualFold(strings.ReplaceAll(v, " ", ""), strings.ReplaceAll(known, " ", "")) {
				return values[0], nil
			}
		}
		return "", errorf(codeBadValue, "%s cannot be %.60q here, only %s", name, v, values[0])
	}
}

var settings = listSettings()

func listSettings() map[string]setting {
	list := []setting{
		{"application_name", "", acceptName, true},
		{"bytea_output", "hex", only("bytea_output", "hex"), false},
		{"client_encoding", "UTF8", acceptEncoding, true},
		{"client_min_messages", "notice", anything, false},
		{"DateStyle", "ISO, MDY", only("DateStyle", "ISO, MDY", "ISO", "ISO, DMY", "ISO, YMD"), true},
		{"default_table_access_method", "heap", nil, false},
		{"default_transaction_isolation", "read committed", anything, false},
		{"default_transaction_read_only", "on", only("default_transaction_read_only", "on", "true", "1", "yes"), true},
		{"escape_string_warning", "on", anything, false},
		{"extra_float_digits", "1", acceptDigits, false},
		{"idle_in_transaction_session_timeout", "0", anything, false},
		{"in_hot_standby", "off", nil, true},
		{"integer_datetimes", "on", nil, true},
		{"IntervalStyle", "postgres", only("IntervalStyle", "postgres"), true},
		{"is_superuser", "off", nil, true},
		{"jit", "off", anything, false},
		{"lock_timeout", "0", anything, false},
		{"max_identifier_length", "63", nil, false},
		{"max_index_keys", "32", nil, false},
		{"row_security", "on", anything, false},
		{"search_path", "main", anything, false},
		{"server_encoding", "UTF8", nil, true},
		{"server_version", ServerVersion, nil, true},
		{"server_version_num", "150000", nil, false},
		{"session_authorization", "", nil, true},
		{"ssl", "off", nil, false},
		{"standard_conforming_strings", "on", only("standard_conforming_strings", "on", "true", "1"), true},
		{"statement_timeout", "0", acceptTimeout, false},
		{"synchronize_seqscans", "on", anything, false},
		{"TimeZone", "UTC", acceptZone, true},
		{"transaction_isolation", "read committed", anything, false},
		{"transaction_read_only", "on", only("transaction_read_only", "on", "true", "1", "yes"), false},
	}
	out := make(map[string]setting, len(list))
	for _, s := range list {
		out[strings.ToLower(s.name)] = s
	}
	return out
}

// sortedSettings is all settings by name, for SHOW ALL and for what is reported at the start.
func sortedSettings() []setting {
	out := make([]setting, 0, len(settings))
	for _, s := range settings {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return strings.ToLower(out[i].name) < strings.ToLower(out[j].name) })
	return out
}

// acceptName keeps of a name what can be shown in a log.
func acceptName(v string) (string, error) {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, v)
	return clean[:min(len(clean), 63)], nil
}

// acceptEncoding takes the names of UTF-8, of which asyncpg sends 'utf-8', quotes and all.
func acceptEncoding(v string) (string, error) {
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" '-_", r) {
			return -1
		}
		return r
	}, v)
	if plain = strings.ToLower(plain); plain == "utf8" || plain == "unicode" {
		return "UTF8", nil
	}
	return "", errorf(codeBadValue, "client_encoding cannot be %.60q here, only UTF8", v)
}

func acceptDigits(v string) (string, error) {
	if n, err := strconv.Atoi(v); err != nil || n < -15 || n > 3 {
		return "", errorf(codeBadValue, "extra_float_digits is %.20q, must be -15 to 3", v)
	}
	return v, nil
}

// acceptZone takes the names of UTC. Times with another zone would be read and cut into days by UTC all the same, and look
// right.
func acceptZone(v string) (string, error) {
	switch strings.ToUpper(v) {
	case "UTC", "ETC/UTC", "GMT", "ETC/GMT", "UCT", "ZULU", "Z", "0", "+00", "+00:00", "DEFAULT", "LOCAL":
		return "UTC", nil
	}
	return "", errorf(codeNotSupported, "TimeZone cannot be %.60q here, only UTC", v).
		hint("write time AT TIME ZONE '…', or give the zone to the function, such as zone => '…'")
}

// acceptTimeout reads milliseconds, or a number with a unit: 500, 500ms, 5s, 1min, 1h.
func acceptTimeout(v string) (string, error) {
	if _, err := ParseTimeout(v); err != nil {
		return "", err
	}
	return v, nil
}

// ParseTimeout is a value of statement_timeout: milliseconds, or a number with its unit. 0 is none.
func ParseTimeout(v string) (time.Duration, error) {
	digits := strings.TrimRight(v, "abcdefghijklmnopqrstuvwxyz ")
	units := map[string]time.Duration{"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	unit, ok := units[strings.TrimSpace(v[len(digits):])]
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 31)
	if !ok || err != nil {
		return 0, errorf(codeBadValue, "statement_timeout is %.60q, must be milliseconds or a number with ms, s, min or h", v)
	}
	return time.Duration(n) * unit, nil
}

// settingOf is the value of a setting in this session.
func (s *session) settingOf(name string) (string, error) {
	key := strings.ToLower(name)
	known, ok := settings[key]
	if !ok {
		return "", errorf(codeNoObject, "unrecognized configuration parameter %.60q", name)
	}
	if v, ok := s.values[key]; ok {
		return v, nil
	}
	return known.value, nil
}

// set changes a setting. Clients are told where they want to know.
func (s *session) set(name, value string) error {
	key := strings.ToLower(name)
	known, ok := settings[key]
	switch {
	case !ok:
		return errorf(codeNoObject, "unrecognized configuration parameter %.60q", name)
	case known.accept == nil:
		return errorf(codeFixedSetting, "parameter %q cannot be changed", known.name)
	}
	value, err := known.accept(value)
	if err != nil {
		return err
	}
	if key == "statement_timeout" {
		s.timeout, _ = ParseTimeout(value)
	}
	s.values[key] = value
	if known.report {
		s.report(known.name, value)
	}
	return nil
}

// reset takes a setting back to what it was when the session began.
func (s *session) reset(name string) error {
	key := strings.ToLower(name)
	known, ok := settings[key]
	if !ok {
		return errorf(codeNoObject, "unrecognized configuration parameter %.60q", name)
	}
	if known.accept == nil {
		return errorf(codeFixedSetting, "parameter %q cannot be changed", known.name)
	}
	value, ok := s.startValues[key]
	if !ok {
		value = known.value
	}
	return s.set(name, value)
}

// resetAll takes every setting back that was changed.
func (s *session) resetAll() error {
	for _, known := range sortedSettings() {
		if _, changed := s.values[strings.ToLower(known.name)]; changed && known.accept != nil {
			if err := s.reset(known.name); err != nil {
				return err
			}
		}
	}
	return nil
}
