# Names files that stand in for others where those are named: by their paths, and where one is included, from its directory.
#
# In: ENVIRON RG_SWAPS (lines of a path and its stand-in, a tab between), RG_DIR (the directory of the text).

BEGIN {
  count = 0
  n = split(ENVIRON["RG_SWAPS"], rows, "\n")
  for (i = 1; i <= n; i++) if (split(rows[i], two, "\t") == 2) { from[++count] = two[1]; to[count] = two[2] }
  here = ENVIRON["RG_DIR"] "/"
}

# A path is whole between characters that no path has.
function swapped(text, old, new,    out, at, before, after) {
  out = ""
  while ((at = index(text, old)) > 0) {
    before = at == 1 ? substr(out, length(out)) : substr(text, at - 1, 1)
    after = substr(text, at + length(old), 1)
    out = out substr(text, 1, at - 1) (before ~ /[A-Za-z0-9._\/-]/ || after ~ /[A-Za-z0-9._\/-]/ ? old : new)
    text = substr(text, at + length(old))
  }
  return out text
}

{
  line = $0
  for (i = 1; i <= count; i++) {
    line = swapped(line, from[i], to[i])
    if (index(from[i], here) == 1 && line ~ /(^|[ \t{;,])[Ii][Nn][Cc][Ll][Uu][Dd][Ee][ \t]/) {
      old = substr(from[i], length(here) + 1)
      new = substr(to[i], length(here) + 1)
      line = swapped(line, "./" old, "./" new)
      line = swapped(line, old, new)
    }
  }
  print line
}
