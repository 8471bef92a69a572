package pgwire

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
)

// SQLSTATE codes this package uses by itself.
const (
	codeProtocol       = "08P01" // protocol_violation
	codeNotSupported   = "0A000" // feature_not_supported
	codeBadValue       = "22023" // invalid_parameter_value
	codeBadText        = "22P02" // invalid_text_representation
	codeBadBinary      = "22P03" // invalid_binary_representation
	codeBadTime        = "22007" // invalid_datetime_format
	codeTimeRange      = "22008" // datetime_field_overflow
	codeOutOfRange     = "22003" // numeric_value_out_of_range
	codeBadEncoding    = "22021" // character_not_in_repertoire
	codeReadOnly       = "25006" // read_only_sql_transaction
	codeNoTransaction  = "25P01" // no_active_sql_transaction
	codeActive         = "25001" // active_sql_transaction
	codeAborted        = "25P02" // in_failed_sql_transaction
	codeNoStatement    = "26000" // invalid_sql_statement_name
	codeUnauthorized   = "28000" // invalid_authorization_specification
	codeBadPassword    = "28P01" // invalid_password
	codeNoCursor       = "34000" // invalid_cursor_name
	codeNoDatabase     = "3D000" // invalid_catalog_name
	codeSyntax         = "42601" // syntax_error
	codeForbidden      = "42501" // insufficient_privilege
	codeNoObject       = "42704" // undefined_object
	codeWrongType      = "42804" // datatype_mismatch
	codeDuplicate      = "42P05" // duplicate_prepared_statement
	codeDuplicateName  = "42P03" // duplicate_cursor
	codeNoParameter    = "42P02" // undefined_parameter
	codeTooMany        = "53300" // too_many_connections
	codeLimit          = "54000" // program_limit_exceeded
	codeFixedSetting   = "55P02" // cant_change_runtime_param
	codeCanceled       = "57014" // query_canceled
	codeShutdown       = "57P01" // admin_shutdown
	codeIdle           = "57P05" // idle_session_timeout
	codeInternal       = "XX000" // internal_error
	severityError      = "ERROR"
	severityFatal      = "FATAL"
	severityNotice     = "NOTICE"
	severityWarning    = "WARNING"
	maxErrorTextLength = 8 << 10
)

// Error is what a client is told of a failure.
type Error struct {
	// Code is the SQLSTATE, five characters.
	Code string
	// Message says what was wrong; Detail more of it; Hint what to do.
	Message, Detail, Hint string
	// Position is where in the statement it is, in characters from 1; 0 if it is nowhere in particular.
	Position int
}

func (e *Error) Error() string { return e.Message }

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) hint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

var (
	// errGone ends a session without another word: the client has left, or does not read.
	errGone = errors.New("the client is gone")
	// errUserCanceled and errTimeout are why a statement was ended.
	errUserCanceled = errorf(codeCanceled, "canceling statement due to user request")
	errTimeout      = errorf(codeCanceled, "canceling statement due to statement timeout")
	errCut          = errorf(codeShutdown, "terminating connection because the server is shutting down")
)

// describe is err for the client.
func (s *Server) describe(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if s.options.Describe != nil {
		if e := s.options.Describe(err); e != nil {
			return e
		}
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errorf(codeCanceled, "%s", err)
	}
	return errorf(codeInternal, "%s", err)
}

// response is e as a message of the protocol.
func (e *Error) response(severity string) pgproto3.ErrorResponse {
	return pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.Code,
		Message: clean(e.Message), Detail: clean(e.Detail), Hint: clean(e.Hint), Position: int32(e.Position),
	}
}

// clean is text as a message may carry it: a zero byte would end the field.
func clean(text string) string {
	if len(text) > maxErrorTextLength {
		text = text[:maxErrorTextLength] + " …"
	}
	return toText(text)
}
