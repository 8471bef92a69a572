package server

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// A token is "varve." name "." 43 characters of base64url: 32 random bytes. A line of the token file is
// name ":" scopes ":argon2id$" salt "$" hash, both base64url. The name inside a token says which line to check, so that
// a wrong token costs one hash however many lines there are.
const (
	tokenPrefix = "varve."
	hashPrefix  = "argon2id$"
	secretBytes = 32
	saltBytes   = 16

	argonTime, argonMemory, argonThreads = 1, 19 << 10, 1 // 19 MiB, about 20 ms
)

// Limits on what is read before anything is hashed.
const (
	maxTokenBytes  = 512
	maxTokenLines  = 100_000
	maxTokensKnown = 10_000
)

// hashWait is how long a call waits for its token to be looked at. After a restart every collector of a plant comes at
// once, and two hashes at a time are a hundred a second. A connection waits with one call, so that few wait.
const hashWait = 10 * time.Second

var (
	tokenName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	base64URL = base64.RawURLEncoding

	errBadToken = errors.New("token is not valid")
	errHashing  = errors.New("too many tokens are being checked; try again")
)

// NewToken makes a token for name and the line of a token file that lets it in. The token is nowhere kept.
func NewToken(name string, scope Scope, random io.Reader) (token, line string, err error) {
	if !tokenName.MatchString(name) {
		return "", "", fmt.Errorf("name %.80q of a token: must be 1 to 64 letters, digits, - or _", name)
	}
	if random == nil {
		random = rand.Reader
	}
	secret := make([]byte, secretBytes+saltBytes)
	if _, err := io.ReadFull(random, secret); err != nil {
		return "", "", fmt.Errorf("make token: %w", err)
	}
	salt := secret[secretBytes:]
	token = tokenPrefix + name + "." + base64URL.EncodeToString(secret[:secretBytes])
	line = name + ":" + scope.String() + ":" + hashPrefix + base64URL.EncodeToString(salt) + "$" + base64URL.EncodeToString(hashToken(token, salt))
	return token, line, nil
}

func hashToken(token string, salt []byte) []byte {
	return argon2.IDKey([]byte(token), salt, argonTime, argonMemory, argonThreads, 32)
}

// tokenStore knows the tokens of a file by their hashes.
type tokenStore struct {
	entries map[string]tokenEntry
	hashing chan struct{} // holds a token for each hash being made: they take memory and time on purpose

	// mu guards known: tokens that were right before, by SHA-256, so that a call costs no argon2id.
	mu    sync.RWMutex
	known map[[sha256.Size]byte]caller
}

type tokenEntry struct {
	scope      Scope
	salt, hash []byte
}

func readTokens(path string) (*tokenStore, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	s := &tokenStore{entries: map[string]tokenEntry{}, hashing: make(chan struct{}, 2), known: map[[sha256.Size]byte]caller{}}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if len(s.entries) >= maxTokenLines {
			return nil, fmt.Errorf("read tokens %s: more than %d", path, maxTokenLines)
		}
		name, entry, err := parseTokenLine(text)
		if err != nil {
			return nil, fmt.Errorf("read tokens %s: line %d: %w", path, n, err) // never the line itself
		}
		if _, ok := s.entries[name]; ok {
			return nil, fmt.Errorf("read tokens %s: line %d: name %s stands twice", path, n, name)
		}
		s.entries[name] = entry
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read tokens %s: %w", path, err)
	}
	if len(s.entries) == 0 {
		return nil, fmt.Errorf("read tokens %s: no token in it; make one with: varve token new NAME --scope read", path)
	}
	return s, nil
}

func parseTokenLine(text string) (name string, e tokenEntry, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || !tokenName.MatchString(parts[0]) || !strings.HasPrefix(parts[2], hashPrefix) {
		return "", e, errors.New("must be name:scope:" + hashPrefix + "salt$hash")
	}
	if e.scope, err = ParseScope(parts[1]); err != nil {
		return "", e, err
	}
	salt, hash, _ := strings.Cut(strings.TrimPrefix(parts[2], hashPrefix), "$")
	if e.salt, err = base64URL.DecodeString(salt); err != nil || len(e.salt) != saltBytes {
		return "", e, errors.New("salt is not 16 bytes of base64url")
	}
	if e.hash, err = base64URL.DecodeString(hash); err != nil || len(e.hash) != 32 {
		return "", e, errors.New("hash is not 32 bytes of base64url")
	}
	return parts[0], e, nil
}

// check says whose token it is. It may wait for its turn to hash, which it gives up with ctx.
func (s *tokenStore) check(ctx context.Context, token string) (caller, error) {
	if len(token) > maxTokenBytes {
		return caller{}, errBadToken
	}
	key := sha256.Sum256([]byte(token))
	if who, ok := s.lookUp(key); ok {
		return who, nil
	}
	name, _, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), ".")
	entry, found := s.entries[name]
	if !ok || !found || !strings.HasPrefix(token, tokenPrefix) {
		return caller{}, errBadToken
	}
	ctx, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return caller{}, errHashing
	}
	defer func() { <-s.hashing }()
	if who, ok := s.lookUp(key); ok {
		return who, nil // another call came with the same token, and was first
	}
	if subtle.ConstantTimeCompare(hashToken(token, entry.salt), entry.hash) != 1 {
		return caller{}, errBadToken
	}
	who := caller{name: name, scope: entry.scope}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) < maxTokensKnown {
		s.known[key] = who
	}
	return who, nil
}

// lookUp is the caller of a token that was right before.
func (s *tokenStore) lookUp(key [sha256.Size]byte) (caller, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	who, ok := s.known[key]
	return who, ok
}
