package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/varvedb/varve/server/pgwire"
)

// sqlHistory is the file of what was typed, a statement a line, which only its owner may read.
type sqlHistory struct {
	path  string
	lines []string // the newest last
}

const (
	maxHistoryLines = 1000
	maxHistoryBytes = 4000 // of a line; longer ones are not kept
)

// openHistory reads the history, and makes the file where there is none.
func openHistory() (*sqlHistory, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &sqlHistory{path: filepath.Join(dir, "sql_history")}
	file, err := os.OpenFile(h.path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&^0o600 != 0 {
		if err := file.Chmod(0o600); err != nil {
			return nil, err
		}
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if keep(lines.Text()) {
			h.lines = append(h.lines, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", h.path, err)
	}
	if len(h.lines) > 2*maxHistoryLines {
		h.lines = h.lines[len(h.lines)-maxHistoryLines:]
		return h, h.rewrite()
	}
	return h, nil
}

// rewrite writes the file anew, so that it does not grow for ever.
func (h *sqlHistory) rewrite() error {
	part := fmt.Sprintf("%s.%d.part", h.path, os.Getpid())
	if err := os.WriteFile(part, []byte(strings.Join(h.lines, "\n")+"\n"), 0o600); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, h.path)
}

// add keeps what was typed, if it is to be kept, and returns the line by which it is found again, empty for none.
func (h *sqlHistory) add(typed string) (string, error) {
	line := strings.TrimSpace(pgwire.OneLine(typed))
	if !keep(line) {
		return "", nil
	}
	file, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return line, err
	}
	_, err = file.WriteString(line + "\n")
	return line, errors.Join(err, file.Close())
}

// secretWords are in statements that may have a secret, such as a condition on a text that was pasted.
var secretWords = regexp.MustCompile(`(?i)token|passw|secret|bearer|credential|api.?key`)

func keep(line string) bool {
	return line != "" && len(line) <= maxHistoryBytes && utf8.ValidString(line) && !strings.ContainsAny(line, "\r\n") && !secretWords.MatchString(line)
}

// stateDir is where programs of a user keep what outlives them and matters little.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "varve"), nil
	}
	if runtime.GOOS == "windows" {
		dir, err := os.UserCacheDir()
		return filepath.Join(dir, "varve"), err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(home) {
		return "", fmt.Errorf("home folder %q: %w", home, fs.ErrInvalid)
	}
	return filepath.Join(home, ".local", "state", "varve"), nil
}
