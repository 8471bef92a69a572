package model

// Effect is what a write did to what a tag holds. The numbers reach disk and are never renumbered.
type Effect uint8

const (
	EffectNone     Effect = 1 // refused, ignored, or equal to what stands: nothing changed
	EffectNew      Effect = 2 // a sample behind all that the tag had, in the order of (time, seq)
	EffectLate     Effect = 3 // a sample where none stood, and not behind all others
	EffectUpdated  Effect = 4 // as late or as replaced: whether something stood there was not looked at
	EffectReplaced Effect = 5 // another value stood there
	EffectRemoved  Effect = 6 // a sample stood there and does not any more
	EffectDeleted  Effect = 7 // whatever stood in a range does not any more; its values stay readable as versions
	EffectRestored Effect = 8 // what a range delete took away stands again, except where something was written since
	EffectErased   Effect = 9 // whatever stood in a range is gone for good
)

var effectNames = [...]string{
	EffectNone: "none", EffectNew: "new", EffectLate: "late", EffectUpdated: "updated", EffectReplaced: "replaced",
	EffectRemoved: "removed", EffectDeleted: "deleted", EffectRestored: "restored", EffectErased: "erased",
}

func (e Effect) String() string {
	if e >= EffectNone && e <= EffectErased {
		return effectNames[e]
	}
	return "unknown"
}
