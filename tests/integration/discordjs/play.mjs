// @discordjs/voice, unmodified, in one call. It is told what to do by lines of JSON on stdin, and answers with
// lines of JSON on stdout; it leaves the call and ends with its stdin.
//
//   in:  {"guild_id", "channel_id", "user_id", "session_id", "token", "endpoint"}  then out: {"event": "encrypted"}
//   in:  {"play_s": 2}                                                             then out: {"event": "played"}
//   in:  {"hear": 50}                                                              then out: {"event": "heard", "packets"}

import { createInterface } from "node:readline";
import { Readable } from "node:stream";

import {
  AudioPlayerStatus,
  createAudioPlayer,
  createAudioResource,
  EndBehaviorType,
  entersState,
  joinVoiceChannel,
  StreamType,
  VoiceConnectionStatus,
} from "@discordjs/voice";

const SAMPLE_RATE_HZ = 48_000;
const READY_TIMEOUT_MS = 15_000;

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

/** A tone that rises from 300 Hz by 120 Hz a second, as 16-bit stereo. */
function sweep(seconds) {
  const samples = Buffer.alloc(seconds * SAMPLE_RATE_HZ * 4);
  for (let index = 0; index < seconds * SAMPLE_RATE_HZ; index++) {
    const t = index / SAMPLE_RATE_HZ;
    const value = Math.round(32_767 * 0.5 * Math.sin(2 * Math.PI * (300 * t + 60 * t * t)));
    samples.writeInt16LE(value, index * 4);
    samples.writeInt16LE(value, index * 4 + 2);
  }
  return samples;
}

/** What a main gateway would do: answer the request to join with the two events that carry the credentials. */
function adapterFor(grant) {
  return (methods) => ({
    sendPayload({ d: { channel_id } }) {
      if (channel_id === null) return true;
      const { guild_id, user_id, session_id, token, endpoint } = grant;
      setImmediate(() => {
        methods.onVoiceStateUpdate({ guild_id, channel_id, user_id, session_id });
        methods.onVoiceServerUpdate({ guild_id, token, endpoint });
      });
      return true;
    },
    destroy() {},
  });
}

async function join(grant) {
  const connection = joinVoiceChannel({
    guildId: grant.guild_id,
    channelId: grant.channel_id,
    selfDeaf: false,
    adapterCreator: adapterFor(grant),
  });
  connection.on("error", (error) => say({ event: "error", text: error.message }));
  // It has the keys then; what it plays before, it sends in the clear.
  connection.once("transitioned", () => say({ event: "encrypted" }));
  connection.receiver.speaking.on("start", (userId) => listen(connection, userId));
  await entersState(connection, VoiceConnectionStatus.Ready, READY_TIMEOUT_MS);
  return connection;
}

const heard = [];
let wanted = Infinity;

function listen(connection, userId) {
  if (connection.receiver.subscriptions.has(userId)) return;
  const stream = connection.receiver.subscribe(userId, { end: { behavior: EndBehaviorType.Manual } });
  stream.on("data", (packet) => {
    heard.push(packet.toString("hex"));
    tellWhenHeard();
  });
}

function tellWhenHeard() {
  if (heard.length < wanted) return;
  say({ event: "heard", packets: heard.slice(0, wanted) });
  wanted = Infinity;
}

async function play(connection, seconds) {
  const player = createAudioPlayer();
  player.on("error", (error) => say({ event: "error", text: error.message }));
  connection.subscribe(player);
  player.play(createAudioResource(Readable.from([sweep(seconds)]), { inputType: StreamType.Raw }));
  await entersState(player, AudioPlayerStatus.Playing, READY_TIMEOUT_MS);
  await entersState(player, AudioPlayerStatus.Idle, seconds * 1_000 + READY_TIMEOUT_MS);
  say({ event: "played" });
}

let connection;
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.token) connection = await join(request);
  else if (request.play_s) await play(connection, request.play_s);
  else if (request.hear) {
    wanted = request.hear;
    tellWhenHeard();
  }
}
connection?.destroy();
