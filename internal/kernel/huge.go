package kernel

// HugePages asks the operating system to hold x in pages of 2 MiB, as far as x
// fills them: rows of matrices lie so far apart that with small ones every row
// costs a look into the page tables. It is advice; nothing depends on its being
// taken.
func HugePages(x []float32) { hugePages(x) }
