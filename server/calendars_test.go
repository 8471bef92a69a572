package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

const twoShifts = `{"zone": "Europe/Berlin", "shifts": [{"name": "a", "start": "00:00", "end": "12:00"}, {"name": "b", "start": "12:00", "end": "00:00"}]}`

// TestEveryRequestTakesTheNameOfACalendar asks by the name of a stored calendar and by its definition, over gRPC and Flight.
func TestEveryRequestTakesTheNameOfACalendar(t *testing.T) {
	s := start(t, Options{})
	s.write(t, everyKind()...)
	ctx := testContext(t)
	stored, err := varvev1.NewCatalogServiceClient(s.conn).PutCalendar(ctx, &varvev1.PutCalendarRequest{Name: "two shifts", Definition: "\n" + twoShifts + "\r\n"})
	require.NoError(t, err)
	require.Equal(t, twoShifts, stored.Definition)
	require.EqualValues(t, 1, stored.Version)
	require.NotZero(t, stored.StoredNs)
	client := varvev1.NewQueryServiceClient(s.conn)
	for i, ask := range []func(calendar string) ([]byte, *varvev1.FlightQuestion, error){
		func(c string) ([]byte, *varvev1.FlightQuestion, error) {
			r := &varvev1.ReadAggregatesRequest{Tags: []string{"float"}, EndNs: 1e14, Every: "shift", Calendar: c, Aggregates: []string{"count"}}
			b, err := ipcBytes(client.ReadAggregates(ctx, r))
			return b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Aggregates{Aggregates: r}}, err
		},
		func(c string) ([]byte, *varvev1.FlightQuestion, error) {
			r := &varvev1.ReadProcessedRequest{Tags: []string{"float"}, EndNs: 1e14, Every: "shift", Calendar: c, Aggregates: []string{"Count"}}
			b, err := ipcBytes(client.ReadProcessed(ctx, r))
			return b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Processed{Processed: r}}, err
		},
		func(c string) ([]byte, *varvev1.FlightQuestion, error) {
			r := &varvev1.ReadTimeInStateRequest{Tags: []string{"bool"}, EndNs: 1e14, Every: "shift", Calendar: c}
			b, err := ipcBytes(client.ReadTimeInState(ctx, r))
			return b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_TimeInState{TimeInState: r}}, err
		},
		func(c string) ([]byte, *varvev1.FlightQuestion, error) {
			r := &varvev1.ReadWideRequest{Tags: []string{"float"}, EndNs: 1e14, Every: "shift", Calendar: c}
			b, err := ipcBytes(client.ReadWide(ctx, r))
			return b, &varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Wide{Wide: r}}, err
		},
	} {
		want, _, err := ask("\n " + twoShifts)
		require.NoError(t, err)
		got, question, err := ask("two shifts")
		require.NoError(t, err, question)
		require.Equal(t, want, got)
		requireSameOverFlight(t, s, got, question, []int{3, 3, 4, 3}[i])
		for _, unknown := range []string{"three shifts", "two shift", " two shifts"} {
			_, _, err = ask(unknown)
			require.Equal(t, codes.NotFound, status.Code(err), "%v", err)
			require.ErrorContains(t, err, fmt.Sprintf("calendar %q", unknown))
		}
	}
}

func TestCalendarsOverGRPC(t *testing.T) {
	s := start(t, Options{})
	ctx := testContext(t)
	client := varvev1.NewCatalogServiceClient(s.conn)
	for _, bad := range []*varvev1.PutCalendarRequest{
		{},
		{Name: "a", Definition: "{}"},
		{Name: "a", Definition: `{"zone": "Mars/Olympus"}`},
		{Name: "a", Definition: `{"zone": "UTC"} {}`},
		{Name: "", Definition: twoShifts},
		{Name: "{a", Definition: twoShifts},
		{Name: "a", Definition: `{"zone": "UTC"` + strings.Repeat(" ", 1<<20) + "}"},
	} {
		_, err := client.PutCalendar(ctx, bad)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%.100v: %v", bad, err)
	}
	// 60 definitions of 100 kB take several pages.
	for i := range 60 {
		_, err := client.PutCalendar(ctx, &varvev1.PutCalendarRequest{Name: fmt.Sprintf("c%02d", i), Definition: `{"zone": "UTC"` + strings.Repeat(" ", 100_000) + "}"})
		require.NoError(t, err)
	}
	again, err := client.PutCalendar(ctx, &varvev1.PutCalendarRequest{Name: "c00", Definition: twoShifts})
	require.NoError(t, err)
	require.EqualValues(t, 2, again.Version)
	var names []string
	pages := 0
	for page := ""; ; pages++ {
		answer, err := client.ListCalendars(ctx, &varvev1.ListCalendarsRequest{PageToken: page})
		require.NoError(t, err)
		for _, c := range answer.Calendars {
			names = append(names, c.Name)
		}
		if page = answer.NextPageToken; page == "" {
			break
		}
	}
	require.Len(t, names, 60)
	require.IsIncreasing(t, names)
	require.Greater(t, pages, 1)
	newest, err := client.GetCalendar(ctx, &varvev1.GetCalendarRequest{Name: "c00"})
	require.NoError(t, err)
	require.Equal(t, twoShifts, newest.Definition)
	first, err := client.GetCalendar(ctx, &varvev1.GetCalendarRequest{Name: "c00", Version: 1})
	require.NoError(t, err)
	require.Contains(t, first.Definition, "UTC")
	for _, r := range []*varvev1.GetCalendarRequest{{Name: "c00", Version: 3}, {Name: "none"}, {}} {
		_, err := client.GetCalendar(ctx, r)
		require.Equal(t, codes.NotFound, status.Code(err))
	}
}
