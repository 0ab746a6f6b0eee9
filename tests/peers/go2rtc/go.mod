// go2rtc, the bridge that many cameras are read through: a server of RTSP that somebody else wrote, for scripts/test-city.
module peers/go2rtc

go 1.23

require github.com/AlexxIT/go2rtc v1.9.9
