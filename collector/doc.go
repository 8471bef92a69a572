// Package collector reads devices, brokers and files and keeps what they say until servers have it.
//
// # The path of a reading
//
//	source → Sink → clock window → mapping: tag, type, scaling → exception test → run → queue on disk → per destination: Ingest stream
//
// # What it promises
//
// A reading is stored as it came, or it is counted and, where times are known, told as a gap: nothing is changed or left out without a
// word. A source that fails, or panics, is started again and keeps no other from reading. A configuration that makes no sense changes nothing
// that runs. Collectors never write to a device.
//
// # The parts
//
//	source.go     what a source is, and what it is given: Source, Sink, Reading
//	value.go      a value as a source has it; convert.go as a tag takes it
//	kind.go       kinds of sources, and how their settings are read
//	config.go     the configuration; strict.go its faults, each with its line; secret.go what it only refers to
//	mapping.go    which tag an address becomes
//	feed.go       readings of one source to samples; gaps.go what is missing; quarantine.go whose times are not believed
//	collector.go  sources at work, reload, the end; state.go what outlasts it; watch.go the file that changes; health.go what it says of itself
//	registry.go   every tag it writes; outlet.go where samples go
//	check.go      trying a source, browsing
//	service.go    a collector with its queue, as the program runs it
//	apart.go      a source that runs in a process of its own; apart_serve.go that process; apart_message.go what they say to each other
//
// Sources are packages of their own below this one: each gives a [Kind], which the program hands to [ReadConfig].
package collector
