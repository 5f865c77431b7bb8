# Reads a nats-server configuration on its host and prints it without its secrets.
#
# Fail closed: a value is printed only where its key is known to be harmless; comments, and everything after text that
# is not understood, are not printed at all. Lines stay where they are, so that a place in the output is a place in the file.
#
# In: ENVIRON RG_CONF (main file), RG_ROOT (where its file system is), RG_ENV (the service's NAME=VALUE lines).
# Out: tagged lines for collect.sh; `!` lines are secrets for scrub.awk, which prints none of them.

function known(list, into,    words, n, i) {
  n = split(list, words, " ")
  for (i = 1; i <= n; i++) into[words[i]] = 1
}

# Dialects of awk differ in brackets: one that does not read ours as meant must not print anything.
function understood() {
  return match("a]b", /[] \t;,}']/) == 2 && match("ab c", /[] \t;,}']/) == 3 && match("ab:c", /[ \t:=]/) == 3 &&
    "a,b" ~ /[^A-Za-z0-9_.$*>@\/ -]/ && "a-b/c d" !~ /[^A-Za-z0-9_.$*>@\/ -]/ && split("a[b]c{d", understands, /[][ \t"',;:={}()]+/) == 4 &&
    match("u:p@h", /.*@/) && RLENGTH == 4
}

BEGIN {
  if (!understood()) { print "g\tconfig\tthis host's awk reads patterns in another way"; exit }
  known("listen port host net http https http_port https_port monitor_port http_base_path prof_port server_name name advertise client_advertise cluster_advertise leafnode_advertise no_advertise cert_file key_file ca_file verify verify_and_map verify_cert_and_check_known_urls insecure timeout min_version handshake_first cipher_suites curve_preferences connection_rate_limit allow_non_tls no_tls store_dir storedir store domain max_memory_store max_mem_store max_mem max_memory mem memory max_file_store max_file max_disk disk max_store max_streams streams max_consumers consumers max_bytes max_bytes_required enabled enable disabled disable strict sync sync_interval sync_always unique_tag extension_hint max_outstanding_catchup request_queue_limit max_ha_assets max_ack_pending pidfile pid_file logfile log_file logfile_size_limit log_size_limit logfile_max_num log_max_num ports_file_dir syslog debug trace logtime logtime_utc max_control_line max_payload max_pay max_pending max_connections max_conn max_subscriptions max_subs max_leafnodes max_leafs ping_interval ping_max write_deadline write_timeout lame_duck_duration lame_duck_grace_period system_account system no_system_account operator operators roots root root_operators root_operator resolver account_resolver accounts_resolver type dir url urls routes interval limit allow_delete hard_delete default_js_domain server_tags pool_size compression mode rtt_thresholds connect_retries connect_backoff account local creds credentials gateway gateways reject_unknown reject_unknown_cluster jetstream cluster leafnodes leaf remotes websocket ws mqtt tls limits feature_flags max_closed_clients reconnect reconnect_delay reconnect_interval no_randomize dont_randomize hub isolate isolate_leafnode_interest compress handshake_timeout js_domain ack_wait stream_replicas consumer_replicas reconnect_error_reports connect_error_reports no_header_support disable_sublist_cache cluster_traffic meta_compact meta_compact_size", allow)
  # Masked as well, but words that logs are full of: no use in taking them out there.
  known("user username users account_name subject subjects publish subscribe pub sub import export imports exports allow deny stream service prefix to permissions permission default_permissions allow_responses no_auth_user dest destination weight accounts mappings maps allowed_connection_types tag tags cipher", dull)
  known("nats server cluster route routes system sys admin user client app leaf leafnode gateway account true false none", common)

  root = ENVIRON["RG_ROOT"]
  main = ENVIRON["RG_CONF"]
  n = split(ENVIRON["RG_ENV"], pairs, "\n")
  for (i = 1; i <= n; i++) {
    at = index(pairs[i], "=")
    if (at > 1) env[substr(pairs[i], 1, at - 1)] = substr(pairs[i], at + 1)
  }
  for (pass = 1; pass <= 2; pass++) {
    files = 0
    room = 300000
    read_file(main, 0)
  }
  for (name in variable_fine) {
    if (name in value_of) continue
    if (name in env) {
      if (!(name in variable_secret) && !looks_secret(env[name])) print "cv\t" name "\t1\t" mask_userinfo(env[name])
      else print "cv\t" name "\t1"
    } else print "cv\t" name "\t0"
  }
  for (name in variable_secret) if (!(name in value_of) && !(name in variable_fine)) {
    print "cv\t" name "\t" (name in env)
    if (name in env) secret(env[name])
  }
}

# Every value that is not printed is looked for in logs too, unless it is so short or so plain a word that logs would suffer.
function secret(text) {
  if (pass == 2 && length(text) < 4) return
  if (tolower(text) in common) return
  if (length(text) < 8 && text ~ /^[a-z]+$/) return
  # In pieces: lines are cut on their way.
  while (length(text) > 200) { print "!" substr(text, 1, 200); text = substr(text, 201) }
  if (length(text) > 3) print "!" text
}

function looks_secret(text) {
  if (text ~ /^\$?2[abxy]\$/ || text ~ /^\$2[abxy]\$/) return 1
  if (text ~ /eyJ[A-Za-z0-9_-]/) return 1
  if (text ~ /-----BEGIN/) return 1
  return length(text) >= 40 && text ~ /^["']?S[A-Z2-7]+["']?$/
}

# Everything up to the last @ goes: a password may have a / or an @ of its own.
function mask_userinfo(text,    scheme, at) {
  scheme = ""
  at = index(text, "://")
  if (at) { scheme = substr(text, 1, at + 2); text = substr(text, at + 3) }
  if (!match(text, /.*@/)) return scheme text
  at = RLENGTH
  # A path may have an @.
  if (scheme == "" && index(substr(text, 1, at), ":") == 0) return text
  if (pass == 2) userinfo_secret(substr(text, 1, at - 1))
  # No brackets here: outside of quotes they would end the value.
  return scheme "redacted@" substr(text, at + 1)
}

function userinfo_secret(text,    at) {
  secret(text)
  at = index(text, ":")
  secret(at ? substr(text, at + 1) : text)
}

function directory(path) {
  return match(path, /.*\//) ? substr(path, 1, RLENGTH) : "./"
}

function gap(what, why) {
  if (pass == 2) print "g\t" what "\t" why
}

function read_file(path, nesting,    number, lines, count, line, status) {
  if (nesting > 8 || files >= 40) { gap("config " path, "too many includes"); return }
  number = ++files
  if (pass == 2) print "cf\t" number "\t" path
  if (path ~ /[*?[]/) { if (pass == 2) print "ce\t" number "\tno such file"; return }
  count = 0
  while ((status = (getline line < (root path))) > 0) {
    lines[++count] = line
    room -= length(line) + 1
    if (room < 0) { if (pass == 2) print "cc\t" number; break }
  }
  close(root path)
  if (status < 0 || (count == 0 && status != 0)) { if (pass == 2) print "ce\t" number "\tcannot be read"; return }
  # An include begins anew, and what it left open ends with it.
  lex(path, number, nesting, lines, count)
}

# The lexer's states: `key`, `sep` (after a key), `val`, `end` (after a value), `dq`, `sq`, `block`, `lost`.
function lex(path, number, nesting, lines, count,    i, rest, out, c, st, depth, ctx, keys, word, held, quoted, was) {
  st = "key"; depth = 0; ctx[0] = "m"; keys[0] = ""
  for (i = 1; i <= count; i++) {
    rest = lines[i]
    out = ""
    sub(/\r$/, "", rest)
    if (length(rest) > 8000) { st = "lost" }
    if (st == "dq" || st == "sq" || st == "block") {
      if (st == "block") {
        if (rest != ")") { held = held "\n" rest; if (pass == 2) secret_line(rest); show(number, ""); continue }
        rest = ""; out = ")"
      } else {
        at = closing(rest, st)
        if (!at) { held = held "\n" rest; if (pass == 2) secret_line(rest); show(number, ""); continue }
        if (pass == 2) secret_line(substr(rest, 1, at - 1))
        rest = substr(rest, at + 1)
      }
      st = ctx[depth] == "a" ? "val" : "end"
    }
    while (rest != "" && st != "lost") {
      c = substr(rest, 1, 1)
      if (c == " " || c == "\t") { out = out c; rest = substr(rest, 2); continue }
      if (st != "val" || ctx[depth] == "a") if (c == "#" || substr(rest, 1, 2) == "//") { out = out "#"; rest = ""; break }
      if (st == "key") {
        if (c == "," || c == ";") { out = out c; rest = substr(rest, 2); continue }
        if (c == "{") { ctx[++depth] = "m"; keys[depth] = ""; out = out c; rest = substr(rest, 2); continue }
        if (c == "}") {
          if (depth > 0) depth--
          out = out c; rest = substr(rest, 2); st = ctx[depth] == "a" ? "val" : "end"; continue
        }
        if (c == "\"" || c == "'") {
          at = index(substr(rest, 2), c)
          if (!at) { st = "lost"; break }
          word = substr(rest, 2, at - 1); rest = substr(rest, at + 2); quoted = 1
        } else {
          at = match(rest, /[ \t:=]/) ? RSTART : length(rest) + 1
          word = substr(rest, 1, at - 1); rest = substr(rest, at); quoted = 0
        }
        if (!quoted && tolower(word) == "include") {
          out = out word
          match(rest, /^[ \t]*/)
          out = out substr(rest, 1, RLENGTH); rest = substr(rest, RLENGTH + 1)
          c = substr(rest, 1, 1)
          if (c == "\"" || c == "'") {
            at = index(substr(rest, 2), c)
            if (!at) { st = "lost"; break }
            word = substr(rest, 2, at - 1); rest = substr(rest, at + 2)
          } else {
            at = match(rest, /[ \t;}']/) ? RSTART : length(rest) + 1
            word = substr(rest, 1, at - 1); rest = substr(rest, at)
          }
          if (looks_secret(word) || word ~ /"/) { st = "lost"; break }
          out = out "\"" word "\""
          # nats-server joins even an absolute path to the directory (conf/parse.go).
          read_file(directory(path) word, nesting + 1)
          st = "end"
          continue
        }
        keys[depth] = word
        # A secret that stands where a key should, too.
        if (looks_secret(word) || (word in masked) || length(word) > 80 || word ~ /[^A-Za-z0-9_.$*>@\/ -]/) {
          if (pass == 1) secret(word)
          word = "redacted"; quoted = 0
        }
        out = out (quoted ? "\"" word "\"" : word)
        st = "sep"
        continue
      }
      if (st == "sep") {
        st = "val"
        if (c == ":" || c == "=") { out = out c; rest = substr(rest, 2) }
        continue
      }
      if (st == "val") {
        if (ctx[depth] == "a" && (c == "," || c == ";")) { out = out c; rest = substr(rest, 2); continue }
        if (c == "{") { ctx[++depth] = "m"; keys[depth] = ""; out = out c; rest = substr(rest, 2); st = "key"; continue }
        if (c == "[") { ctx[++depth] = "a"; keys[depth] = keys[depth - 1]; out = out c; rest = substr(rest, 2); continue }
        if (c == "]" || (c == "}" && ctx[depth] == "m")) {
          if (depth > 0) depth--
          out = out c; rest = substr(rest, 2); st = ctx[depth] == "a" ? "val" : "end"; continue
        }
        if (c == "(") {
          # Blocks are JWTs and the like: never printed.
          if (substr(rest, 2) !~ /^[ \t]*$/ && pass == 2) secret_line(substr(rest, 2))
          out = out "("; rest = ""; st = "block"; held = ""; break
        }
        if (c == "\"" || c == "'") {
          rest = substr(rest, 2)
          was = c == "'" ? "sq" : "dq"
          at = closing(rest, was)
          if (!at) {
            if (pass == 2) secret_line(rest)
            out = out "\"[redacted]\""; rest = ""; st = was; held = ""; break
          }
          word = substr(rest, 1, at - 1); rest = substr(rest, at + 1)
          out = out value(keys, depth, word, c)
        } else {
          at = match(rest, /[] \t;,}']/) ? RSTART : length(rest) + 1
          if (at == 1) { st = "lost"; break }
          word = substr(rest, 1, at - 1); rest = substr(rest, at)
          if (substr(rest, 1, 1) == "'") rest = substr(rest, 2)
          out = out value(keys, depth, word, "")
        }
        st = ctx[depth] == "a" ? "val" : "end"
        continue
      }
      # After a value.
      if (c == "," || c == ";") { out = out c; rest = substr(rest, 2); st = "key"; continue }
      if (c == "}") {
        if (depth > 0) depth--
        out = out c; rest = substr(rest, 2); st = ctx[depth] == "a" ? "val" : "end"; continue
      }
      st = "lost"
    }
    if (st == "lost" && rest != "") {
      # Not understood: whatever it is, it stays here; but the place of the mistake must show as one.
      if (pass == 2) { secret_line(rest); if (!(number in lost)) { lost[number] = i; print "cl\t" number "\t" i } }
      out = out "[redacted]"
    }
    show(number, out)
    if (st == "end") st = "key"
  }
}

function show(number, text) {
  if (pass == 2) print "c\t" number "\t" text
}

# Where a quoted string ends, past its escapes; 0 when not on this line.
function closing(text, kind,    i, c) {
  if (kind == "sq") return index(text, "'")
  if (!index(text, "\"")) return 0
  for (i = 1; i <= length(text); i++) {
    c = substr(text, i, 1)
    if (c == "\\") i++
    else if (c == "\"") return i
  }
  return 0
}

# What a line that is withheld may hold: its words, and what stands between quotes.
function secret_line(text,    words, n, i) {
  n = split(text, words, /["']/)
  for (i = 1; i <= n && i <= 200; i++) {
    sub(/^[ \t]+/, "", words[i]); sub(/[ \t]+$/, "", words[i])
    if (length(words[i]) >= 8) secret(words[i])
  }
  n = split(text, words, /[][ \t"',;:={}()@]+/)
  if (n > 200) n = 200
  for (i = 1; i <= n; i++) if (length(words[i]) >= 8 || words[i] ~ /[0-9A-Z]/) secret(words[i])
}

# A scalar as it may be printed, quoted as it was; and what follows from it.
function value(keys, depth, word, quote,    key, name, bare, i) {
  for (i = depth; i > 0 && keys[i] == ""; i--) {}
  key = tolower(keys[i])
  bare = word
  if (quote == "" && substr(word, 1, 1) == "$" && !looks_secret(word)) {
    name = substr(word, 2)
    if (pass == 1) {
      if (key in allow) variable_fine[name] = 1
      else if (!(key in dull)) variable_secret[name] = 1
    }
    if (name !~ /^[A-Za-z_][A-Za-z0-9_]*$/) { if (pass == 2) secret(name); return "\"[redacted]\"" }
    # A password that begins with $ and is no variable is printed by nobody.
    if (!(key in allow) && !(name in value_of) && !(name in env)) { if (pass == 2) secret(name); return "$redacted" }
    if (name in value_of) bare = value_of[name]
    else if (name in env) { bare = env[name]; gsub(/^["']|["']$/, "", bare) }
    else return word
    if (pass == 2 && (key in allow) && !(name in variable_secret)) fact(keys, depth, key, bare)
    return word
  }
  if (pass == 1) value_of[keys[i]] = word
  if (looks_secret(word)) { if (pass == 2) secret(word); return "\"[redacted]\"" }
  # For any key: true, off and their like give nothing away.
  if (quote == "" && tolower(word) ~ /^(true|false|yes|no|on|off)$/) return word
  if (!(key in allow) && !((keys[i] in variable_fine) && !(keys[i] in variable_secret))) {
    if (pass == 2 && !(key in dull)) secret(word)
    if (length(word) >= 6 && !(key in dull) && !(tolower(word) in allow)) masked[word] = 1
    return "\"[redacted]\""
  }
  word = mask_userinfo(word)
  if (pass == 2 && (key in allow)) fact(keys, depth, key, word)
  return quote word quote
}

# What the rest of the collector has to look at: paths and addresses.
function fact(keys, depth, key, text,    where, i) {
  where = ""
  for (i = 0; i < depth; i++) if (keys[i] != "") where = where tolower(keys[i]) "."
  if (text ~ /[\t\n]/ || text == "") return
  if (key == "cert_file") path_fact("tls-cert", text)
  else if (key == "key_file") path_fact("tls-key", text)
  else if (key == "ca_file") path_fact("tls-ca", text)
  else if (key == "store_dir" || key == "storedir" || (key == "store" && where ~ /^jetstream\./ && text !~ /^[0-9]/)) path_fact("store", text)
  else if (key == "pid_file" || key == "pidfile") path_fact("pid", text)
  else if (key == "log_file" || key == "logfile") path_fact("log", text)
  else if (key == "ports_file_dir") path_fact("ports-dir", text)
  else if (key == "dir" && where ~ /resolver\./) path_fact("resolver-dir", text)
  else if (key ~ /^(root_)?operators?$|^roots?$/) path_fact("operator", text)
  else if (key == "creds" || key == "credentials") path_fact("credentials", text)
  else if (key == "jetstream" && where == "" && tolower(text) ~ /^enabled?$/) print "fj\t1"
  else if (key == "routes" && where ~ /^cluster\./) reach_fact("route", text)
  else if ((key == "url" || key == "urls") && where ~ /^gateway\./) reach_fact("gateway", text)
  else if ((key == "url" || key == "urls") && where ~ /^leaf(nodes)?\./) reach_fact("leafnode", text)
  else if (key ~ /resolver$/ && match(text, /https?:\/\//)) reach_fact("resolver", substr(text, RSTART))
  else if (key == "url" && where ~ /resolver\./) reach_fact("resolver", text)
}

function path_fact(role, path) {
  if (!((role, path) in told)) print "fp\t" role "\t" path
  told[role, path] = 1
}

function reach_fact(role, url,    scheme, host, port, at) {
  scheme = match(url, /^[A-Za-z+-]+:\/\//) ? tolower(substr(url, 1, RLENGTH - 3)) : ""
  if (scheme != "") url = substr(url, RLENGTH + 1)
  sub(/^.*@/, "", url)
  sub(/[\/?)].*$/, "", url)
  if (substr(url, 1, 1) == "[") {
    at = index(url, "]"); host = substr(url, 2, at - 2); port = substr(url, at + 2)
  } else if ((at = index(url, ":")) > 0) {
    host = substr(url, 1, at - 1); port = substr(url, at + 1)
  } else { host = url; port = "" }
  if (port == "") port = scheme == "https" ? 443 : scheme == "http" ? 80 : role == "route" ? 6222 : role == "gateway" ? 7222 : 7422
  if (host !~ /^[A-Za-z0-9._:%-]+$/ || port !~ /^[0-9]+$/) return
  if (!((role, host, port) in told)) print "fr\t" role "\t" host "\t" port
  told[role, host, port] = 1
}
