# All TCP listeners with their processes, from /proc alone.
#
# In: ENVIRON RG_NET (where `tcp` and `tcp6` are), standard input: `ls -l /proc/[0-9]*/fd`.
# Out: `li` lines: address, port, pid, program, user, unit.

function hex(text,    i, n) {
  n = 0
  for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
  return n
}

function v4(text) { return hex(substr(text, 7, 2)) "." hex(substr(text, 5, 2)) "." hex(substr(text, 3, 2)) "." hex(substr(text, 1, 2)) }

# Four words, each in the host's byte order; all the world's hosts with /proc are little-endian, nearly.
function v6(text,    i, w, out, part) {
  if (text == "00000000000000000000000000000000") return "::"
  if (text == "00000000000000000000000001000000") return "::1"
  if (substr(text, 1, 24) == "0000000000000000FFFF0000") return v4(substr(text, 25, 8))
  out = ""
  for (i = 0; i < 4; i++) {
    w = substr(text, i * 8 + 1, 8)
    out = out (i ? ":" : "") tolower(substr(w, 7, 2) substr(w, 5, 2) ":" substr(w, 3, 2) substr(w, 1, 2))
  }
  return out
}

function first_line(file,    line) {
  line = ""
  if ((getline line < file) < 0) line = ""
  close(file)
  return line
}

function table(file, six,    line, f, n, at) {
  while ((getline line < file) > 0) {
    n = split(line, f, " ")
    at = index(f[2], ":")
    # 0A is LISTEN.
    if (n < 10 || f[4] != "0A") continue
    count++
    address[count] = six ? v6(substr(f[2], 1, at - 1)) : v4(substr(f[2], 1, at - 1))
    port[count] = hex(substr(f[2], at + 1))
    uid[count] = f[8]
    inode[count] = f[10]
    wanted[f[10]] = 1
  }
  close(file)
}

BEGIN {
  while ((getline line < "/etc/passwd") > 0) if (split(line, f, ":") > 3) user_of[f[3]] = f[1]
  table(ENVIRON["RG_NET"] "/tcp", 0)
  table(ENVIRON["RG_NET"] "/tcp6", 1)
}

/^\/proc\/[0-9]+\/fd:$/ { split($0, f, "/"); pid = f[3]; next }
match($0, /socket:\[[0-9]+\]/) {
  i = substr($0, RSTART + 8, RLENGTH - 9)
  if ((i in wanted) && !(i in owner)) owner[i] = pid
}

END {
  for (i = 1; i <= count && i <= 300; i++) {
    p = (inode[i] in owner) ? owner[inode[i]] : ""
    program = ""; unit = ""
    if (p != "") {
      program = first_line("/proc/" p "/comm")
      while ((getline line < ("/proc/" p "/cgroup")) > 0) {
        n = split(line, f, "/")
        for (k = n; k > 1; k--) if (f[k] ~ /\.(service|scope)$/) { unit = f[k]; break }
        if (unit != "") break
      }
      close("/proc/" p "/cgroup")
    }
    name = (uid[i] in user_of) ? user_of[uid[i]] : uid[i]
    print "li\t" address[i] "\t" port[i] "\t" p "\t" program "\t" name "\t" unit
  }
}
