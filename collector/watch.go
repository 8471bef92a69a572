package collector

import (
	"context"
	"os"
	"time"
)

// Watch reads the collector's configuration anew when asked is sent to, or when the file changes, which it looks for every few seconds; until ctx
// ends. A configuration that cannot be taken is told, and changes nothing.
func (k *Collector) Watch(ctx context.Context, kinds []Kind, asked <-chan os.Signal, every time.Duration) {
	k.mu.Lock()
	file, seen := k.mu.config.file, k.mu.config.stamp
	k.mu.Unlock()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			seen = stampOf(file)
		case <-tick.C:
			now := stampOf(file)
			if now == seen {
				continue
			}
			seen = now
		}
		c, err := ReadConfig(file, kinds)
		if err == nil {
			err = k.Reload(ctx, c)
		}
		if err != nil {
			k.o.Logger.Error("the configuration cannot be taken; the collector goes on as it was", "error", err)
			continue
		}
		k.o.Logger.Info("the configuration was read anew", "file", file, "sources", len(c.Sources))
	}
}

// stamp is what tells a file from the one that stood there before.
type stamp struct {
	size     int64
	modified time.Time
}

func stampOf(file string) stamp {
	st, err := os.Stat(file)
	if err != nil {
		return stamp{size: -1}
	}
	return stamp{st.Size(), st.ModTime()}
}
