-- One kind of request: args METHOD PATH TOKEN FIRST COUNT. PUT and DELETE name another object each time, GET goes round.
local n = 0

function init(args)
   method, path, first, count = args[1], args[2], tonumber(args[4]), tonumber(args[5])
   wrk.headers["X-Auth-Token"] = args[3]
   body = method == "PUT" and string.rep("x", 4096) or nil
end

function request()
   n = n + 1
   if method == "GET" and count == 0 then return wrk.format(method, path) end
   local name = method == "GET" and first + n % count or first + n
   return wrk.format(method, path .. name, nil, body)
end
