package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/peterh/liner"

	"github.com/varvedb/varve/internal/answer"
)

// maxScriptLine bounds a line of a script: a statement and what else may stand there.
const maxScriptLine = 2 * maxPending

// script runs the statements of a text one after another, up to the first that fails.
func (s *sqlSession) script(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxScriptLine)
	for n := 1; lines.Scan(); n++ {
		if err := s.read(ctx, lines.Text()); errors.Is(err, errQuit) {
			return nil
		} else if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	return s.end(ctx)
}

// prompter is where a person types lines.
type prompter interface {
	// Prompt shows a prompt and returns what is typed behind it, without the line break; io.EOF for Ctrl-D, liner.ErrPromptAborted for Ctrl-C.
	Prompt(prompt string) (string, error)
}

// plainPrompter is a terminal that knows no more than lines.
type plainPrompter struct{ in *bufio.Reader }

func (p plainPrompter) Prompt(prompt string) (string, error) {
	fmt.Print(prompt)
	line, err := p.in.ReadString('\n')
	if line == "" || err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// shell runs what a person types until they leave. Ctrl-C ends the statement that runs and not the shell.
func (s *sqlSession) shell(ctx context.Context) error {
	// The program's own context ends at the first Ctrl-C; this one at what really ends a program.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	history, err := openHistory()
	if err != nil {
		fmt.Fprintf(s.said, "What is typed here is not kept: %v\n", err)
	}
	var in prompter = plainPrompter{bufio.NewReader(os.Stdin)}
	remember := func(string) {}
	if liner.TerminalSupported() {
		line := liner.NewLiner()
		defer line.Close()
		line.SetCtrlCAborts(true)
		line.SetMultiLineMode(true)
		line.SetTabCompletionStyle(liner.TabPrints)
		completion := &sqlCompletion{session: s, columns: map[string][]string{}}
		line.SetWordCompleter(completion.complete)
		if history != nil {
			for _, old := range history.lines {
				line.AppendHistory(old)
			}
		}
		in, remember = line, line.AppendHistory
	}
	fmt.Fprintf(s.said, "SQL of the server at %s. \\? helps, Ctrl-D leaves.\n", s.client.address)
	typed := ""
	for {
		line, err := promptUntil(ctx, in, s.prompt())
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			s.pending, typed = "", ""
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.said)
			return nil
		case err != nil:
			return err
		}
		typed += line + "\n"
		err = s.interruptible(ctx, line)
		if s.pending == "" && strings.TrimSpace(typed) != "" {
			s.remember(history, typed, remember)
			typed = ""
		}
		if errors.Is(err, errQuit) {
			return nil
		}
		if err != nil {
			fmt.Fprintln(s.said, printableLines(err.Error()))
		}
	}
}

func (s *sqlSession) prompt() string {
	if s.pending != "" {
		return "  ...> "
	}
	return "varve> "
}

// promptUntil waits for a line, or for the end of ctx.
func promptUntil(ctx context.Context, in prompter, prompt string) (line string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		line, err = in.Prompt(prompt)
	}()
	select {
	case <-done:
		return line, err
	case <-ctx.Done():
		return "", errors.New("stopped")
	}
}

// interruptible reads a line; Ctrl-C ends what it runs.
func (s *sqlSession) interruptible(ctx context.Context, line string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	return s.read(ctx, line)
}

// remember keeps what was typed for the arrows, and in the file.
func (s *sqlSession) remember(h *sqlHistory, typed string, remember func(string)) {
	if h == nil {
		return
	}
	line, err := h.add(typed)
	if err != nil {
		fmt.Fprintf(s.said, "What is typed here is not kept: %v\n", err)
	}
	if line != "" {
		remember(line)
	}
}

// printableLines is a text of several lines without what could steer a terminal.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = answer.Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
