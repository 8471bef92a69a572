package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/varvedb/varve/model"
)

// Limits on calculations. All versions stay, and are in memory.
const (
	MaxCalculationBytes = 4096   // of one expression
	MaxCalculations     = 16_384 // versions of all calculations, judged by Check
)

// PutCalculation adds a version of a named calculation. Version and Stored are set on apply. The first holds from the beginning of
// time; From 0 of a later one is the ingest time of the record. One that is in force already from then on changes nothing.
//
// What an expression says is for whoever puts it to check: the catalogue knows that it is text. No tag has, or ever had, the name of a
// calculation, nor gets it.
type PutCalculation struct{ Calculation model.Calculation }

// checkCalculation reports what is wrong with a calculation by itself.
func checkCalculation(x *model.Calculation) error {
	if err := model.CheckName(x.Name); err != nil {
		return fmt.Errorf("calculation: %w: %w", err, ErrBadName)
	}
	if x.Expression == "" {
		return fmt.Errorf("calculation %.80q: no expression: %w", x.Name, ErrBadSettings)
	}
	if x.From > model.MaxTime {
		return fmt.Errorf("calculation %.80q: from %d lies behind all time: %w", x.Name, x.From, ErrBadSettings)
	}
	if err := checkText("expression", x.Expression, MaxCalculationBytes); err != nil {
		return fmt.Errorf("calculation %.80q: %w", x.Name, err)
	}
	return nil
}

// judgeCalculationLocked is checkCalculation and what the tags say. c.mu must be held for reading.
func (c *Catalog) judgeCalculationLocked(x *model.Calculation) error {
	if err := checkCalculation(x); err != nil {
		return err
	}
	owner := c.mu.byName[x.Name]
	if owner == 0 {
		owner = latestOf(c.mu.former[x.Name]).tag
	}
	if owner != 0 {
		return fmt.Errorf("calculation %.80q: tag %d has, or had, this name: %w", x.Name, owner, ErrNameTaken)
	}
	return nil
}

// judgeTagNameLocked reports why no tag can get a name. c.mu must be held for reading.
func (c *Catalog) judgeTagNameLocked(name string) error {
	if len(c.mu.calculations[name]) > 0 {
		return fmt.Errorf("%.80q is the name of a stored calculation, which has no samples of its own: %w", name, ErrNameTaken)
	}
	return nil
}

// checkCalculationLocked is judgeCalculationLocked and the quota.
func (d *door) checkCalculationLocked(x *model.Calculation) error {
	if err := d.c.judgeCalculationLocked(x); err != nil {
		return err
	}
	if d.c.sameCalculationLocked(x) != nil {
		return nil
	}
	if n := d.c.mu.calculationVersions + d.calculations; n >= MaxCalculations {
		return fmt.Errorf("calculation %.80q: there are %d versions of all calculations, most is %d: %w", x.Name, n, MaxCalculations, ErrCalculationQuota)
	}
	d.calculations++
	return nil
}

// sameCalculationLocked is the newest version of a calculation where it says the same from the date on, else nil.
func (c *Catalog) sameCalculationLocked(x *model.Calculation) *model.Calculation {
	versions := c.mu.calculations[x.Name]
	if len(versions) == 0 {
		return nil
	}
	newest := versions[len(versions)-1]
	if newest.Expression != x.Expression || x.From != 0 && x.From < newest.From {
		return nil
	}
	return newest
}

func (c *Catalog) putCalculationLocked(asked *model.Calculation, now int64) Result {
	if err := c.judgeCalculationLocked(asked); err != nil {
		return Result{Err: err}
	}
	if same := c.sameCalculationLocked(asked); same != nil {
		return Result{Calculation: same}
	}
	x := *asked
	x.Version, x.Stored = uint32(len(c.mu.calculations[x.Name])+1), now
	switch {
	case x.Version == 1:
		x.From = model.MinTime
	case x.From == 0:
		x.From = now
	}
	x.From = max(x.From, model.MinTime)
	c.addCalculationLocked(&x)
	c.mu.dirtyCalculations = append(c.mu.dirtyCalculations, &x)
	return Result{Calculation: &x, Created: true}
}

func (c *Catalog) addCalculationLocked(x *model.Calculation) {
	c.mu.calculations[x.Name] = append(c.mu.calculations[x.Name], x)
	c.mu.calculationVersions++
}

// Calculation is one version of a named calculation; version 0 is the newest.
func (c *Catalog) Calculation(name string, version uint32) (*model.Calculation, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	versions := c.mu.calculations[name]
	if version == 0 {
		version = uint32(len(versions))
	}
	if version == 0 || uint64(version) > uint64(len(versions)) {
		return nil, false
	}
	return versions[version-1], true
}

// CalculationInForce is the versions of a calculation that are in force at some time, ascending by it: each from its date to that of the
// next. A version takes the place of those before it from its date on. It is empty where there is no such calculation.
func (c *Catalog) CalculationInForce(name string) []*model.Calculation {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*model.Calculation
	for _, x := range c.mu.calculations[name] {
		for len(out) > 0 && out[len(out)-1].From >= x.From {
			out = out[:len(out)-1]
		}
		out = append(out, x)
	}
	return out
}

// Calculations is the newest version of every calculation, ascending by name.
func (c *Catalog) Calculations() []*model.Calculation {
	c.mu.RLock()
	out := make([]*model.Calculation, 0, len(c.mu.calculations))
	for _, versions := range c.mu.calculations {
		out = append(out, versions[len(versions)-1])
	}
	c.mu.RUnlock()
	slices.SortFunc(out, func(a, b *model.Calculation) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func calculationRows(calculations []*model.Calculation) []Row {
	rows := make([]Row, 0, len(calculations))
	for _, x := range calculations {
		body := appendText(appendTime(appendTime(nil, x.From), x.Stored), x.Expression)
		rows = append(rows, seal(namedKey(calculationRow, x.Name, x.Version), body))
	}
	slices.SortFunc(rows, func(a, b Row) int { return slices.Compare(a.Key, b.Key) })
	return rows
}

// calculationVersionsLocked is the calculations of all versions. c.mu must be held.
func (c *Catalog) calculationVersionsLocked() (all []*model.Calculation) {
	for _, versions := range c.mu.calculations {
		all = append(all, versions...)
	}
	return all
}

func parseCalculation(name string, version uint32, body []byte) (*model.Calculation, error) {
	r := &reader{b: body}
	x := &model.Calculation{Name: name, Version: version, From: r.time(), Stored: r.time(), Expression: r.text()}
	if err := r.end(); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, errors.New("version is 0")
	}
	if x.From < model.MinTime || version == 1 && x.From != model.MinTime {
		return nil, fmt.Errorf("version %d holds from %d", version, x.From)
	}
	return x, checkCalculation(x)
}

// loadCalculationLocked takes the row of a calculation. Those of all tags were loaded before.
func (c *Catalog) loadCalculationLocked(x *model.Calculation) error {
	if versions := c.mu.calculations[x.Name]; int(x.Version) != len(versions)+1 {
		return fmt.Errorf("version %d stands where %d belongs", x.Version, len(versions)+1)
	}
	if err := c.judgeCalculationLocked(x); err != nil {
		return err
	}
	c.addCalculationLocked(x)
	return nil
}
