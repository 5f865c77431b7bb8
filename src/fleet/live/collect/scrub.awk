# All that leaves the host passes here: secrets are taken out, lines are cut, each is written at once.
#
# Secrets are those that conf.awk names (`!` lines, which end here) and whatever looks like one.

# `c` lines are conf.awk's, which knows better; `x` lines are certificates, `f` lines paths.
function is_plain(tag) { return tag ~ /^(c|cf|ce|cc|cl|cv|x|fp|fr|f|s|r|li|v|end)$/ }

# What the collector itself says in numbers: a secret's digits may be among them.
function is_number(tag, key, value) { return tag ~ /^[mpbut]$/ && (key ~ /^(elf|boot)$/ || value ~ /^[0-9.+ -]*$/) }

# How much of a log line its logger put there: tag, time, host and program, then nats-server's own id, time and level.
function written_before(    end) {
  if (!match($0, /^[jlk]\t([0-9][0-9T:.+-]*Z? ([^ ]+ [^ :]+: )?)?/)) return 0
  end = RLENGTH
  if (match(substr($0, end + 1), /^\[[0-9]+\] ([0-9]+\/[0-9]+\/[0-9]+ [0-9:.]+ )?\[[A-Z][A-Z][A-Z]\] /)) end += RLENGTH
  return end
}

function mask(pattern, shortest,    out) {
  out = ""
  while (match($0, pattern)) {
    if (RLENGTH >= shortest) out = out substr($0, 1, RSTART - 1) "[redacted]"
    else out = out substr($0, 1, RSTART + RLENGTH - 1)
    $0 = substr($0, RSTART + RLENGTH)
  }
  $0 = out $0
}

# Where the value after the first word for a secret begins; 0 for none.
function leftmost(low,    start, at) {
  start = 0; at = 0
  if (match(low, /(password|passwd|passphrase|pass|token|secret|seed|bearer|auth|authorization|credential|api_?key|private_?key|encryption_?key|pwd)["']?[ \t]*[:=][ \t]*[^ \t]/)) { start = RSTART; at = RSTART + RLENGTH - 1 }
  if (match(low, /--?(password|pass|token|secret|auth|user|pwd)[ \t]+[^ \t-]/) && (!start || RSTART < start)) { start = RSTART; at = RSTART + RLENGTH - 1 }
  if (match(low, /bearer +[^ \t]/) && (!start || RSTART < start)) at = RSTART + RLENGTH - 1
  return at
}

# `password: "x"`, `--pass=x`, `token x`: the word stays, the value goes, up to the closing quote or the next space.
function mask_values(    out, low, word, value, quote, at) {
  out = ""
  low = tolower($0)
  # The leftmost of the three forms first: what stands before a match is not looked at again.
  while ((at = leftmost(low)) > 0) {
    word = substr($0, 1, at - 1)
    value = substr($0, at)
    # `Authorization: Bearer x`: the scheme is no value
    if (match(tolower(value), /^(bearer|basic)[ \t]+/)) value = substr(value, RLENGTH + 1)
    quote = substr(value, 1, 1)
    if (quote == "\"" || quote == "'") {
      at = index(substr(value, 2), quote)
      value = at ? substr(value, at + 2) : ""
    } else if (match(value, /[ \t]/)) value = substr(value, RSTART)
    else value = ""
    out = out word "[redacted]"
    $0 = value
    low = tolower($0)
  }
  $0 = out $0
}

BEGIN { FS = "\t"; bytes = 0; most = ENVIRON["RG_SIZE"] + 0; if (most <= 0) most = 700000 }

/^!/ { if (length($0) > 1) secrets[substr($0, 2)] = 1; next }
done { next }

{
  tag = $1
  if (!is_plain(tag) && !is_number(tag, $2, $3)) {
    head = substr($0, 1, written_before())
    $0 = substr($0, length(head) + 1)
    for (one in secrets) {
      while ((at = index($0, one)) > 0) $0 = substr($0, 1, at - 1) "[redacted]" substr($0, at + length(one))
    }
    gsub(/:\/\/[^\/ @]*@/, "://[redacted]@")
    mask("eyJ[A-Za-z0-9_.-]+", 20)
    mask("S[A-Z2-7]+", 50)
    gsub(/\$2[abxy]\$[0-9]+\$[A-Za-z0-9.\/]+/, "[redacted]")
    mask_values()
    if ($0 ~ /-----BEGIN [A-Z ]*PRIVATE KEY/) { within[tag] = 1 }
    if (within[tag]) {
      if ($0 ~ /-----END/) within[tag] = 0
      $0 = (head == "" ? tag "\t" : "") "[redacted]"
    }
    $0 = head $0
  }
  if (length($0) > 2000) $0 = substr($0, 1, 2000)
  bytes += length($0) + 1
  if (bytes > most && tag != "end") { done = 1; print "g\tsize\tmore than " most " bytes: the rest was left out"; fflush(); next }
  print
  fflush()
}
