//go:build !buckets

package bucket

import "context"

// Built says whether this build has the drivers of buckets.
const Built = false

func open(context.Context, URL) (service, error) { return service{}, ErrNotBuilt }
