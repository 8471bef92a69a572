package table

// tagID is the column by which a table is joined with tags.
func tagID(notNull bool) Column {
	return Column{Name: "tag_id", Type: Int64, NotNull: notNull, Of: "tags", Remarks: "stable id of the tag"}
}

func tagName(notNull bool) Column {
	return Column{Name: "tag", Type: Text, NotNull: notNull, Remarks: "current name of the tag"}
}

// sampleColumns are the columns of samples. of is whether every row is a sample; of latest a row may be a tag without one.
func sampleColumns(of bool) []Column {
	return []Column{
		{Name: "time", Type: Time, NotNull: of, Remarks: "time_ns, cut to whole microseconds"},
		tagName(true),
		{Name: "value", Type: Float64, Remarks: "numbers, to the nearest double; NULL where Bad and for other types"},
		{Name: "quality", Type: Int64, NotNull: of, Remarks: "OPC UA StatusCode, 0 to 4294967295"},
		{Name: "status", Type: Text, NotNull: of, Remarks: "symbolic name of quality, without info bits"},
		{Name: "severity", Type: Text, NotNull: of, Remarks: "Good, Uncertain or Bad"},
		{Name: "value_int", Type: Int64, Remarks: "integers up to 2^63-1, booleans as 0 and 1, codes of states; NULL where Bad"},
		{Name: "value_text", Type: Text, Remarks: "texts, states, integers above 2^63-1; NULL where Bad"},
		{Name: "time_ns", Type: Int64, NotNull: of, Remarks: "nanoseconds since 1970 UTC"},
		tagID(true),
		{Name: "seq", Type: Int64, NotNull: of, Remarks: "order among samples of one time"},
	}
}

var sampleKey = []string{"tag_id", "time_ns", "seq"}

// All is every table, in the order of their names. The slices are the caller's.
func All() []Table {
	return []Table{
		{Name: "annotations", Key: []string{"id"}, Remarks: "texts on tags and times", Columns: []Column{
			{Name: "id", Type: Text, NotNull: true, Remarks: "UUID"}, tagID(true), tagName(true),
			{Name: "start", Type: Time, NotNull: true}, {Name: "stop", Type: Time, Remarks: "NULL: of one instant"},
			{Name: "text", Type: Text, NotNull: true}, {Name: "author", Type: Text}, {Name: "created_at", Type: Time, NotNull: true},
		}},
		{Name: "gaps", Remarks: "times of which samples are missing", Columns: []Column{
			tagID(false), tagName(false), {Name: "source", Type: Text, Remarks: "the source whose tags are meant, NULL where a tag is named"},
			{Name: "start", Type: Time, NotNull: true}, {Name: "stop", Type: Time, Remarks: "NULL: still open"},
			{Name: "kind", Type: Text, NotNull: true, Remarks: "not_collected, lost, device_down, quarantined or thinned"},
			{Name: "recorded_at", Type: Time, NotNull: true}, {Name: "superseded_at", Type: Time, Remarks: "NULL: in force"},
		}},
		{Name: "good_samples", View: true, Key: sampleKey, Columns: sampleColumns(true), Remarks: "samples of severity Good"},
		{Name: "ingest_rejects", Remarks: "rows of the caller's bulk ingests that were not taken", Columns: []Column{
			{Name: "ingest", Type: Text, NotNull: true, Remarks: "as the error of the ingest names it"}, {Name: "recorded_at", Type: Time, NotNull: true},
			{Name: "row", Type: Int64, NotNull: true, Remarks: "of the rows sent, from 0"}, {Name: "tag", Type: Text, Remarks: "as it was sent"}, {Name: "time_ns", Type: Int64},
			{Name: "code", Type: Text, NotNull: true}, {Name: "reason", Type: Text, NotNull: true},
		}},
		{Name: "latest", View: true, Key: []string{"tag_id"}, Remarks: "the newest sample of every tag, NULL where there is none", Columns: append(sampleColumns(false),
			Column{Name: "age_s", Type: Float64, Remarks: "seconds from its time to now"},
			Column{Name: "collected_until", Type: Time, Remarks: "up to when its source is known to have looked"})},
		{Name: "rollups", Key: []string{"tag_id", "bucket", "level_ns"}, Remarks: "what each day and each hour of a tag holds, where it has samples", Columns: []Column{
			tagID(true), tagName(true), {Name: "bucket", Type: Time, NotNull: true}, {Name: "bucket_end", Type: Time, NotNull: true},
			{Name: "level_ns", Type: Int64, NotNull: true, Remarks: "86400000000000 of days, 3600000000000 of hours"},
			{Name: "count_good", Type: Int64, NotNull: true}, {Name: "count_uncertain", Type: Int64, NotNull: true},
			{Name: "count_bad", Type: Int64, NotNull: true, Remarks: "Bad, or without a value"},
			{Name: "first", Type: Float64, Remarks: "of samples with a value, Good or Uncertain, as are the next ones"}, {Name: "last", Type: Float64},
			{Name: "min", Type: Float64}, {Name: "max", Type: Float64}, {Name: "min_time", Type: Time}, {Name: "max_time", Type: Time}, {Name: "sum", Type: Float64},
			{Name: "integral_stepped", Type: Float64, Remarks: "value times nanoseconds, held from sample to sample"},
			{Name: "integral_sloped", Type: Float64, Remarks: "value times nanoseconds, along lines from sample to sample"},
			{Name: "ns_good", Type: Int64, NotNull: true, Remarks: "nanoseconds under Good samples"}, {Name: "ns_uncertain", Type: Int64, NotNull: true},
			{Name: "ns_bad", Type: Int64, NotNull: true, Remarks: "nanoseconds without a value"}, {Name: "transitions", Type: Int64, Remarks: "changes of the value"},
		}},
		{Name: "samples", Key: sampleKey, Columns: sampleColumns(true), Remarks: "current samples, in no promised order"},
		{Name: "state_sets", Key: []string{"state_set", "version", "code"}, Remarks: "digital states", Columns: []Column{
			{Name: "state_set", Type: Text, NotNull: true}, {Name: "version", Type: Int64, NotNull: true},
			{Name: "valid_from", Type: Time}, {Name: "valid_to", Type: Time, Remarks: "NULL: in force"},
			{Name: "code", Type: Int64, NotNull: true}, {Name: "state", Type: Text, NotNull: true},
		}},
		{Name: "tag_attributes", Key: []string{"tag_id", "name"}, Remarks: "attributes of tags", Columns: []Column{
			tagID(true), {Name: "name", Type: Text, NotNull: true}, {Name: "value", Type: Text, NotNull: true},
		}},
		{Name: "tag_names", Key: []string{"tag_id", "valid_from"}, Remarks: "names that tags have and had", Columns: []Column{
			tagID(true), {Name: "name", Type: Text, NotNull: true},
			{Name: "valid_from", Type: Time}, {Name: "valid_to", Type: Time, Remarks: "NULL: current"},
		}},
		{Name: "tags", Key: []string{"tag_id"}, Remarks: "the tags and their current settings", Columns: []Column{
			{Name: "tag_id", Type: Int64, NotNull: true, Remarks: "stable id of the tag"}, {Name: "name", Type: Text, NotNull: true},
			{Name: "description", Type: Text}, {Name: "type", Type: Text, NotNull: true, Remarks: "float64, float32, int64, uint64, bool, state, string or bytes"},
			{Name: "unit", Type: Text, Remarks: "UCUM code"}, {Name: "stepped", Type: Bool, NotNull: true},
			{Name: "max_gap_ns", Type: Int64, Remarks: "NULL: no largest gap"}, {Name: "span_low", Type: Float64}, {Name: "span_high", Type: Float64},
			{Name: "state_set", Type: Text}, {Name: "retention", Type: Text}, {Name: "compression_deviation", Type: Float64},
			{Name: "first_time", Type: Time}, {Name: "last_time", Type: Time}, {Name: "samples", Type: Int64},
		}},
		{Name: "versions", Remarks: "what samples were before they were edited, and what they became", Columns: []Column{
			tagID(true), tagName(true), {Name: "time", Type: Time, NotNull: true}, {Name: "time_ns", Type: Int64, NotNull: true}, {Name: "seq", Type: Int64, NotNull: true},
			{Name: "value", Type: Float64}, {Name: "value_int", Type: Int64}, {Name: "value_text", Type: Text},
			{Name: "quality", Type: Int64}, {Name: "status", Type: Text},
			{Name: "kind", Type: Text, NotNull: true, Remarks: "inserted, replaced or removed"},
			{Name: "edit_time", Type: Time}, {Name: "author", Type: Text}, {Name: "reason", Type: Text},
		}},
	}
}
