package opcua

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gopcua/opcua/ua"
)

// point is one address: a node, and an element of its array where element is not nil.
type point struct {
	address  string
	node     node
	element  []uint32 // one index a dimension
	whole    *node    // the node with what looks like an element in its name; nil where that cannot be
	sampling Sampling
}

// node is a node id as a configuration has it: its namespace by number or by name.
type node struct {
	uri   string // empty: index counts
	index uint16
	kind  byte // i, s, g or b
	text  string
}

var errAddress = errors.New("an address is a node id, ns=N;KIND=ID or nsu=URI;KIND=ID where KIND is i, s, g or b, and [i] behind it for an element of an array")

var (
	withElement = regexp.MustCompile(`^(.*)\[(\d{1,9}(?:,\d{1,9}){0,7})\]$`)
	guid        = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// maxIdentifier is how long a text or bytes that identify a node may be (Part 3, 8.2.4).
const maxIdentifier = 4096

// parseAddress reads an address. Names of nodes may end as elements do: the server is asked then which it is.
func parseAddress(s string) (point, error) {
	p := point{address: s}
	n, err := parseNode(s)
	m := withElement.FindStringSubmatch(s)
	if m == nil {
		p.node = n
		return p, err
	}
	if err == nil && n.kind == 's' {
		p.whole = &n
	}
	if p.node, err = parseNode(m[1]); err != nil {
		return p, err
	}
	for _, i := range strings.Split(m[2], ",") {
		x, err := strconv.ParseUint(i, 10, 32)
		if err != nil {
			return p, fmt.Errorf("address %.100q: element %q is no number: %w", s, i, errAddress)
		}
		p.element = append(p.element, uint32(x))
	}
	return p, nil
}

func parseNode(s string) (n node, err error) {
	fail := func(why string) (node, error) {
		return node{}, fmt.Errorf("address %.100q: %s; %w", s, why, errAddress)
	}
	rest := s
	switch {
	case strings.HasPrefix(s, "nsu="):
		i := identifierAt(s)
		if i < 0 {
			return fail("it has no identifier")
		}
		if n.uri, rest = s[len("nsu="):i], s[i+1:]; n.uri == "" {
			return fail("its namespace is empty")
		}
	case strings.HasPrefix(s, "ns="):
		number, after, ok := strings.Cut(s[len("ns="):], ";")
		index, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			return fail("its namespace must be a number from 0 to 65535")
		}
		n.index, rest = uint16(index), after
	}
	if len(rest) < 3 || rest[1] != '=' || len(rest) > maxIdentifier+2 {
		return fail("its identifier is none")
	}
	n.kind, n.text = rest[0], rest[2:]
	switch n.kind {
	case 'i':
		if _, err := strconv.ParseUint(n.text, 10, 32); err != nil {
			return fail("a number must be 0 to 4294967295")
		}
	case 's':
	case 'g':
		if !guid.MatchString(n.text) {
			return fail("a GUID is 09087e75-8e5e-499b-954f-f2a9603db28a")
		}
	case 'b':
		if _, err := base64.StdEncoding.DecodeString(n.text); err != nil {
			return fail("bytes are in base64")
		}
	default:
		return fail("its identifier is none")
	}
	return n, nil
}

// identifierAt is where the semicolon before the identifier stands, -1 for nowhere. Names of namespaces may have semicolons too.
func identifierAt(s string) int {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == ';' && s[i+2] == '=' && strings.IndexByte("isgb", s[i+1]) >= 0 {
			return i
		}
	}
	return -1
}

// id is the node id that a server with these namespaces has. known are the namespaces of the first connection: an index means the namespace that it
// meant then.
func (n node) id(namespaces, known []string) (*ua.NodeID, error) {
	index, uri := n.index, n.uri
	if uri == "" && int(index) < len(known) {
		uri = known[index]
	}
	if uri != "" {
		i := slices.Index(namespaces, uri)
		switch {
		case i >= 0:
			index = uint16(i)
		case n.uri != "":
			return nil, fmt.Errorf("the server has no namespace %.200q", uri)
		}
	}
	switch n.kind {
	case 'i':
		x, err := strconv.ParseUint(n.text, 10, 32)
		return ua.NewNumericNodeID(index, uint32(x)), err
	case 's':
		return ua.NewStringNodeID(index, n.text), nil
	case 'g':
		return ua.NewGUIDNodeID(index, n.text), nil
	}
	b, err := base64.StdEncoding.DecodeString(n.text)
	return ua.NewByteStringNodeID(index, b), err
}

// addressOf is a node id as an address, by the name of its namespace, which moves less than its number.
func addressOf(id *ua.NodeID, namespaces []string) string {
	var kind, text string
	switch id.Type() {
	case ua.NodeIDTypeString:
		kind, text = "s=", id.StringID()
	case ua.NodeIDTypeGUID:
		kind, text = "g=", id.StringID()
	case ua.NodeIDTypeByteString:
		kind, text = "b=", id.StringID()
	default:
		kind, text = "i=", strconv.FormatUint(uint64(id.IntID()), 10)
	}
	ns := id.Namespace()
	if ns == 0 {
		return kind + text
	}
	if int(ns) < len(namespaces) {
		if s := "nsu=" + namespaces[ns] + ";"; namespaces[ns] != "" && identifierAt(s+kind) == len(s)-1 && slices.Index(namespaces, namespaces[ns]) == int(ns) {
			return s + kind + text
		}
	}
	return "ns=" + strconv.Itoa(int(ns)) + ";" + kind + text
}
