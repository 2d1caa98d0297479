// A minimal SFU on Pion, the peer of tests/bench/bench.py: one publisher by WHIP, any number of viewers by WHEP.
//
// Pion as its own examples use it: default interceptors (NACK both ways, sender and receiver reports, transport-cc),
// one TrackLocalStaticRTP per stream. Like our node it is ICE-lite on one UDP port and the DTLS server.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

const bufferBytes = 8 << 20

type sfu struct {
	api    *webrtc.API
	mutex  sync.Mutex
	tracks map[webrtc.RTPCodecType]*webrtc.TrackLocalStaticRTP
}

func main() {
	httpPort := flag.Int("http", 0, "port of WHIP and WHEP")
	udpPort := flag.Int("udp", 0, "port of everything else")
	flag.Parse()

	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: *udpPort})
	if err != nil {
		log.Fatal(err)
	}
	// As much as the system lets us have; less is no reason not to run.
	if err := conn.SetReadBuffer(bufferBytes); err != nil {
		log.Print(err)
	}
	if err := conn.SetWriteBuffer(bufferBytes); err != nil {
		log.Print(err)
	}
	settings := webrtc.SettingEngine{}
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, conn))
	if err := settings.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		log.Fatal(err)
	}
	media, interceptors := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		log.Fatal(err)
	}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		log.Fatal(err)
	}
	s := &sfu{
		api: webrtc.NewAPI(
			webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(settings),
		),
		tracks: map[webrtc.RTPCodecType]*webrtc.TrackLocalStaticRTP{},
	}
	for kind, codec := range map[webrtc.RTPCodecType]string{
		webrtc.RTPCodecTypeVideo: webrtc.MimeTypeVP8, webrtc.RTPCodecTypeAudio: webrtc.MimeTypeOpus,
	} {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: codec}, kind.String(), "lecture")
		if err != nil {
			log.Fatal(err)
		}
		s.tracks[kind] = track
	}
	http.HandleFunc("POST /whip/{name}", s.answering(s.publish))
	http.HandleFunc("POST /whep/{name}", s.answering(s.play))
	http.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *httpPort), nil))
}

func (s *sfu) publish(pc *webrtc.PeerConnection) error {
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		local := s.tracks[remote.Kind()]
		buffer := make([]byte, 1500)
		for {
			n, _, err := remote.Read(buffer)
			if err != nil {
				return
			}
			// A viewer that has gone is not an error of the others.
			if _, err := local.Write(buffer[:n]); err != nil {
				log.Print(err)
			}
		}
	})
	return nil
}

func (s *sfu) play(pc *webrtc.PeerConnection) error {
	for _, track := range s.tracks {
		sender, err := pc.AddTrack(track)
		if err != nil {
			return err
		}
		go func() {
			// Interceptors (NACK) see RTCP only when it is read.
			buffer := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
	return nil
}

func (s *sfu) answering(prepare func(*webrtc.PeerConnection) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		offer, err := io.ReadAll(io.LimitReader(r.Body, 1<<17))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := s.answer(string(offer), prepare)
		if err != nil {
			log.Print(err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/sdp")
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, answer)
	}
}

func (s *sfu) answer(offer string, prepare func(*webrtc.PeerConnection) error) (string, error) {
	pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	if err := prepare(pc); err != nil {
		return "", err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	description, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(description); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}
