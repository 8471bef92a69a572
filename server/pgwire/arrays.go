package pgwire

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire/pgcatalog"
)

// elementOf is the type of the elements of an array, 0 of what is none.
func elementOf(oid uint32) uint32 { return uint32(pgcatalog.Element(int(oid))) }

// typeNamed is the type that a cast names, 0 for none.
func typeNamed(name string) uint32 {
	array := ""
	if plain, ok := strings.CutSuffix(name, "[]"); ok {
		name, array = plain, "[]"
	}
	switch name {
	case "int":
		name = "int4"
	case "double":
		name = "float8"
	}
	oid, _ := pgcatalog.Catalog{}.NamedOID("regtype", name+array)
	return uint32(oid)
}

// withTypes is the types of parameters, where those that the client left to the statement have the type that they are cast to there, or are arrays
// where they stand as what any element of is compared: time = ANY($1).
func (s *session) withTypes(st statement, oids []uint32) []uint32 {
	for i, tok := range st.tokens {
		n, ok := parameterNumber(st.raw(i))
		if tok.kind != parameter || !ok || n > maxColumns || n <= len(oids) && oids[n-1] != 0 && oids[n-1] != oidUnknown {
			continue
		}
		oid := uint32(0)
		switch {
		case st.raw(i+1) == "::" || st.is(i-2, "CAST", "(") && st.is(i+1, "AS"):
			oid = castType(st, i+2)
		case st.raw(i-1) == "(" && st.raw(i+1) == ")" && (st.is(i-2, "ANY") || st.is(i-2, "SOME") || st.is(i-2, "ALL")):
			oid = s.arrayBeside(st, i-3)
		}
		if oid != 0 {
			oids = append(oids, make([]uint32, max(0, n-len(oids)))...)
			oids[n-1] = oid
		}
	}
	return oids
}

// castType is the type that is named at i, 0 for one that the engine knows better. What is cast to numeric or real stays a text, of which the cast takes all
// digits: a parameter of these would be rounded to a double before.
func castType(st statement, i int) uint32 {
	name, _ := st.name(i)
	switch i++; {
	case st.is(i, "PRECISION"):
		i++
	case st.is(i, "WITH"), st.is(i, "WITHOUT"):
		return 0
	}
	if st.raw(i) == "[" && st.raw(i+1) == "]" {
		oid := typeNamed(name + "[]")
		if _, err := parameterType(oid); err != nil {
			return 0
		}
		return oid
	}
	switch oid := typeNamed(name); oid {
	case oidBool, oidInt2, oidInt4, oidInt8, oidFloat8, oidDate, oidTimestamp:
		return oid
	}
	return 0
}

// arrayBeside is the type of arrays whose elements the column at i or before, behind which an operator ends, is compared with. What is no column of a table
// that the statement names, or one of several types, is text.
func (s *session) arrayBeside(st statement, i int) uint32 {
	for i > 0 && strings.ContainsAny(st.raw(i), "=<>!") {
		i--
	}
	name, _ := st.name(i)
	oid := uint32(0)
	for _, t := range s.server.options.Tables {
		at := slices.IndexFunc(t.Columns, func(c table.Column) bool { return c.Name == name })
		if at < 0 || !st.names(t.Name) {
			continue
		}
		if of := uint32(pgcatalog.ArrayOf(t.Columns[at].Type)); oid == 0 {
			oid = of
		} else if of != oid {
			oid = 0
			break
		}
	}
	if oid == 0 {
		oid = uint32(pgcatalog.ArrayOf(table.Text))
	}
	return oid
}

// parseArray reads an array of one dimension: its elements as parseParameter has them, nil for NULL. Errors are of type *Error.
func parseArray(element uint32, inBinary bool, b []byte) ([]any, error) {
	if inBinary {
		return parseBinaryArray(b)
	}
	if err := checkText(b); err != nil {
		return nil, err
	}
	bad := errorf(codeBadText, "%.60q is not an array of one dimension", b).hint("write it as {1,2,NULL}, texts in double quotes where they have commas, braces or spaces around")
	rest := strings.TrimSpace(string(b))
	if !strings.HasPrefix(rest, "{") || !strings.HasSuffix(rest, "}") {
		return nil, bad
	}
	out := []any{}
	if rest = strings.TrimSpace(rest[1:]); rest == "}" {
		return out, nil
	}
	for {
		text, null, behind, ok := cutElement(rest)
		if !ok {
			return nil, bad
		}
		if null {
			out = append(out, nil)
		} else {
			v, err := parseParameter(element, false, []byte(text))
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		if behind == "}" {
			return out, nil
		}
		if rest, ok = strings.CutPrefix(behind, ","); !ok {
			return nil, bad
		}
	}
}

// cutElement is the first element of the text of an array, and what is behind it.
func cutElement(s string) (text string, null bool, behind string, ok bool) {
	var b strings.Builder
	s = strings.TrimLeft(s, " \t\r\n")
	inQuotes, closed, wasQuoted, spaces := false, false, false, 0 // spaces at the end, which belong to the element only in quotes or behind a backslash
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case closed && c != ',' && c != '}':
			if strings.IndexByte(" \t\r\n", c) < 0 {
				return "", false, "", false
			}
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
			spaces = 0
			wasQuoted = true
		case c == '"':
			if !inQuotes && (wasQuoted || b.Len() > 0) {
				return "", false, "", false
			}
			closed, inQuotes, wasQuoted, spaces = inQuotes, !inQuotes, true, 0
		case inQuotes:
			b.WriteByte(c)
		case c == ',' || c == '}':
			text = b.String()[:b.Len()-spaces]
			return text, !wasQuoted && strings.EqualFold(text, "null"), s[i:], wasQuoted || text != ""
		case c == '{':
			return "", false, "", false
		default:
			if b.WriteByte(c); strings.IndexByte(" \t\r\n", c) >= 0 {
				spaces++
			} else {
				spaces = 0
			}
		}
	}
	return "", false, "", false
}

func parseBinaryArray(b []byte) ([]any, error) {
	bad := errorf(codeBadBinary, "%d bytes are not an array of one dimension", len(b))
	if len(b) < 12 {
		return nil, bad
	}
	dimensions, element, rest := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[8:]), b[12:]
	out := []any{}
	if dimensions == 0 && len(rest) == 0 {
		return out, nil
	}
	if dimensions != 1 || len(rest) < 8 || elementOf(element) != 0 {
		return nil, bad
	}
	n := binary.BigEndian.Uint32(rest)
	for rest = rest[8:]; n > 0 && len(rest) >= 4; n-- {
		size := int32(binary.BigEndian.Uint32(rest))
		if rest = rest[4:]; size == -1 {
			out = append(out, nil)
			continue
		}
		if size < 0 || int64(size) > int64(len(rest)) {
			return nil, bad
		}
		v, err := parseParameter(element, true, rest[:size])
		if err != nil {
			return nil, err
		}
		out, rest = append(out, v), rest[size:]
	}
	if n > 0 || len(rest) > 0 {
		return nil, bad
	}
	return out, nil
}

// listText is an array as the engine reads it from a text: JSON whose elements are texts, which it casts. So doubles keep their bits, NaN too.
func listText(all []any) (string, error) {
	texts := make([]*string, len(all))
	for i, v := range all {
		var text string
		switch v := v.(type) {
		case nil:
			continue
		case time.Time:
			text = time.UnixMicro(v.UnixMicro()).UTC().Format("2006-01-02 15:04:05.000000+00")
			if y := v.UTC().Year(); y < 1678 || y > 2261 {
				return "", errTimeRange(v.UTC().Format(time.RFC3339))
			}
		default:
			var ok bool
			if text, ok = textOf(v); !ok {
				return "", errorf(codeNotSupported, "an array of such elements is not taken")
			}
		}
		texts[i] = &text
	}
	out, _ := json.Marshal(texts) // texts can be written
	return string(out), nil
}
