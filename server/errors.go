package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/urlquery"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/server/arrowin"
	"github.com/varvedb/varve/server/relation"
	"github.com/varvedb/varve/server/sqlchild"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/identity"
	"github.com/varvedb/varve/storage/log"
)

var (
	errTooMany   = errors.New("message is too large")
	errProtocol  = errors.New("message is out of turn")
	errBadField  = errors.New("field cannot be used")
	errFenced    = errors.New("a newer session of this source took over")
	errDraining  = errors.New("server is shutting down")
	errNotFound  = errors.New("not found")
	errForbidden = errors.New("not allowed")

	errSubscriptions = errors.New("too many subscriptions")
	errNotOffered    = errors.New("not offered by this server")
)

// errorCode says which status an error ends a call with.
type errorCode struct {
	err  error
	code codes.Code
}

// statusOf is every error a client may meet. It is walked with errors.Is, the first that matches counts; a test finds
// every exported Err* of the packages below the server here.
var statusOf = []errorCode{
	{model.ErrTagNotFound, codes.NotFound},

	{query.ErrBadRequest, codes.InvalidArgument},
	{query.ErrBadRange, codes.InvalidArgument},
	{query.ErrTooLarge, codes.ResourceExhausted},
	{query.ErrBusy, codes.ResourceExhausted},
	{query.ErrNoFit, codes.OutOfRange},
	{query.ErrNoCalendar, codes.NotFound},
	{query.ErrWrongType, codes.DataLoss},
	{expression.ErrExpression, codes.InvalidArgument},

	{storage.ErrCorrupt, codes.DataLoss},
	{storage.ErrUnreachable, codes.Unavailable},
	{storage.ErrVersion, codes.FailedPrecondition},
	{storage.ErrLowSpace, codes.ResourceExhausted},
	{storage.ErrApplyStopped, codes.FailedPrecondition},
	{storage.ErrSequenceReused, codes.FailedPrecondition},
	{storage.ErrSequenceGap, codes.FailedPrecondition},
	{storage.ErrNotLost, codes.FailedPrecondition},
	{storage.ErrNotDeleted, codes.NotFound},
	{storage.ErrUndeleteWindow, codes.FailedPrecondition},
	{storage.ErrErased, codes.FailedPrecondition},
	{storage.ErrHeld, codes.FailedPrecondition},
	{storage.ErrNoHold, codes.NotFound},
	{storage.ErrNoAnnotation, codes.NotFound},
	{storage.ErrAnnotated, codes.AlreadyExists},
	{storage.ErrNoteQuota, codes.ResourceExhausted},
	{storage.ErrNoGap, codes.NotFound},
	{storage.ErrGapQuota, codes.ResourceExhausted},
	{storage.ErrSourceQuota, codes.ResourceExhausted},
	{storage.ErrTagQuota, codes.ResourceExhausted},
	{storage.ErrBadBatch, codes.InvalidArgument},
	{storage.ErrBadToken, codes.InvalidArgument},
	{storage.ErrForeignToken, codes.FailedPrecondition},
	{storage.ErrClosed, codes.Unavailable},
	{storage.ErrExists, codes.AlreadyExists},
	{storage.ErrInUse, codes.FailedPrecondition},

	{catalog.ErrBadName, codes.InvalidArgument},
	{catalog.ErrNameTaken, codes.AlreadyExists},
	{catalog.ErrUUIDTaken, codes.AlreadyExists},
	{catalog.ErrTagQuota, codes.ResourceExhausted},
	{catalog.ErrTypeMismatch, codes.FailedPrecondition},
	{catalog.ErrBadSettings, codes.InvalidArgument},
	{catalog.ErrBadChange, codes.InvalidArgument},
	{catalog.ErrUnknownStateSet, codes.FailedPrecondition},
	{catalog.ErrCalendarQuota, codes.ResourceExhausted},
	{catalog.ErrCalculationQuota, codes.ResourceExhausted},
	{catalog.ErrCorrupt, codes.DataLoss},
	{catalog.ErrVersion, codes.FailedPrecondition},

	{identity.ErrCorrupt, codes.DataLoss},
	{identity.ErrVersion, codes.FailedPrecondition},

	{log.ErrTrimmed, codes.OutOfRange},
	{log.ErrCorrupt, codes.DataLoss},
	{log.ErrVersion, codes.FailedPrecondition},
	{log.ErrBacklogFull, codes.ResourceExhausted},
	{log.ErrClosed, codes.Unavailable},
	{log.ErrNoSpace, codes.ResourceExhausted},
	{log.ErrTooLarge, codes.ResourceExhausted},

	{urlquery.ErrBadParameter, codes.InvalidArgument},
	{answer.ErrNoSeries, codes.InvalidArgument},
	{answer.ErrTooManyChunks, codes.ResourceExhausted},
	{sqlchild.ErrNotBuilt, codes.Unimplemented},
	{sqlchild.ErrOff, codes.Unimplemented},
	{sqlchild.ErrLost, codes.Aborted},
	{sqlchild.ErrTimeout, codes.DeadlineExceeded},
	{sqlchild.ErrBusy, codes.ResourceExhausted},
	{relation.ErrBadScan, codes.InvalidArgument},
	{relation.ErrFormerName, codes.NotFound},

	{arrowin.ErrMalformed, codes.InvalidArgument},
	{arrowin.ErrUnsupported, codes.InvalidArgument},
	{arrowin.ErrTooLarge, codes.ResourceExhausted},

	{errTooMany, codes.ResourceExhausted},
	{errWire, codes.InvalidArgument},
	{errProtocol, codes.InvalidArgument},
	{errBadField, codes.InvalidArgument},
	{errFenced, codes.Aborted},
	{errDraining, codes.Unavailable},
	{errStalled, codes.DeadlineExceeded},
	{errNotFound, codes.NotFound},
	{errForbidden, codes.PermissionDenied},
	{errSubscriptions, codes.ResourceExhausted},
	{errNotOffered, codes.Unimplemented},
	{errBadTicket, codes.InvalidArgument},
	{errNoHandle, codes.NotFound},
	{errCancelled, codes.Canceled},
	{errRowsRejected, codes.InvalidArgument},
	{errPartial, codes.InvalidArgument},
	{errBody, codes.InvalidArgument},
	{errBusy, codes.ResourceExhausted},

	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// toStatus is the status a call ends with because of err. Errors that carry a status keep it.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	for _, e := range statusOf {
		if errors.Is(err, e.err) {
			return status.Error(e.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}
