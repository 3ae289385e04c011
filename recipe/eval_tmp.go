package recipe

import "context"

func (r *run) evaluate(ctx context.Context) error       { return nil }
func (r *run) loadEvaluation(ctx context.Context) error { return nil }
