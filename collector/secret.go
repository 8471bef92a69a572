package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync/atomic"

	"gopkg.in/yaml.v3"
)

// Secret is a password or token that a configuration refers to and does not hold: ${NAME} for a variable of the environment, file:PATH for the
// content of a file. It shows itself only to who asks with Value.
type Secret struct{ ref, value string }

var envReference = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// maxSecretBytes bounds a file with a secret.
const maxSecretBytes = 64 << 10

// givenSecrets are those that the process of a source was given, by what refers to them; nil in a collector. It looks for none by itself.
var givenSecrets atomic.Pointer[map[string]string]

// NewSecret finds the secret that ref refers to.
func NewSecret(ref string) (Secret, error) {
	if given := givenSecrets.Load(); given != nil {
		v, ok := (*given)[ref]
		if !ok {
			return Secret{}, errors.New("the collector did not give the process of the source this secret")
		}
		return Secret{ref, v}, nil
	}
	if m := envReference.FindStringSubmatch(ref); m != nil {
		v, ok := os.LookupEnv(m[1])
		if !ok || strings.TrimSpace(v) == "" {
			return Secret{}, fmt.Errorf("the environment has no variable %s, or it is empty", m[1])
		}
		return Secret{ref, strings.TrimSpace(v)}, nil
	}
	path, ok := strings.CutPrefix(ref, "file:")
	if !ok { // it may be the secret itself: the error must not tell it
		return Secret{}, fmt.Errorf("a secret must not stand in the configuration: refer to it with ${NAME} or file:PATH")
	}
	st, err := os.Stat(path)
	if err != nil {
		return Secret{}, err
	}
	if st.Size() > maxSecretBytes {
		return Secret{}, fmt.Errorf("%s has %d bytes, most is %d", path, st.Size(), maxSecretBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Secret{}, err
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return Secret{}, fmt.Errorf("%s is empty", path)
	}
	return Secret{ref, v}, nil
}

// Value is the secret itself; empty where none was given.
func (s Secret) Value() string { return s.value }

// String is where the secret is.
func (s Secret) String() string { return s.ref }

func (s Secret) GoString() string     { return s.ref }
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.ref) }

func (s *Secret) UnmarshalYAML(n *yaml.Node) (err error) {
	if n.Kind != yaml.ScalarNode {
		return atLine(n, "a secret is ${NAME} or file:PATH")
	}
	if *s = (Secret{}); n.Value == "" {
		return nil
	}
	if *s, err = NewSecret(n.Value); err != nil {
		return atLine(n, err.Error())
	}
	return nil
}

// atLine is an error as the package yaml collects them.
func atLine(n *yaml.Node, text string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", n.Line, text)}}
}

func (s Secret) MarshalYAML() (any, error) { return s.ref, nil }
